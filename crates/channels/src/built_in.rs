//! The texts of the manifests that come with commentd.

/// The manifests that come with commentd.
pub(crate) const BUILT_IN: [(&str, &str); 8] = [
    ("channels/generic.toml", include_str!("../../../channels/generic.toml")),
    ("channels/wxbot.toml", include_str!("../../../channels/wxbot.toml")),
    ("channels/isso.toml", include_str!("../../../channels/isso.toml")),
    ("channels/wordpress.toml", include_str!("../../../channels/wordpress.toml")),
    ("channels/waline.toml", include_str!("../../../channels/waline.toml")),
    ("channels/twikoo.toml", include_str!("../../../channels/twikoo.toml")),
    ("channels/wechat_official.toml", include_str!("../../../channels/wechat_official.toml")),
    ("channels/board.toml", include_str!("../../../channels/board.toml")),
];
