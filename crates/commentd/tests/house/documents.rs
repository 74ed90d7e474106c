//! What the documents name exists.

use super::root;

#[test]
fn what_the_documents_name_exists() {
    for document in [
        "ARCHITECTURE.md",
        "README.md",
        "README.zh-CN.md",
        "CONTRIBUTING.md",
        "docs/migrate.md",
        "docs/migrate.zh-CN.md",
    ] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for name in quoted.chain(linked) {
            let is_path = ["crates/", "channels/", "scripts/", "docs/", "workers/", ".ci/"]
                .iter()
                .any(|at| name.starts_with(at));
            if !is_path || name.contains(['*', '{', ' ', '…']) {
                continue;
            }
            let path = name.split('#').next().unwrap();
            assert!(root().join(path).exists(), "{document} names {name}, which doesn't exist");
        }
    }
}
