//! Comments with hostile values: they change neither the host, nor the path's shape, nor a header's name, nor the
//! structure of the body. Parts: which channel, then content, sns_id, author, content_hash, reply_to, wxid.

use super::channel;
use crate::parts;
use commentd_channels::{Channel, HttpRequest};
use commentd_contract::Addressing;
use commentd_delivery::{Comment, DeliveryId};
use serde_json::Value;

pub(super) fn feed(input: &[u8]) -> Result<(), String> {
    let parts = parts(input);
    let Some(channel) = channel(parts.first()) else { return Ok(()) };
    let part = |index: usize| parts.get(index).cloned().unwrap_or_default();
    let hostile = comment(part);
    // The same comment with nothing but a letter in the place of each value, or a digit in the place of a number.
    let tame = comment(|index| match part(index) {
        value if value.is_empty() => value,
        value if value.bytes().all(|byte| byte.is_ascii_digit()) => "1".into(),
        _ => "x".into(),
    });
    let (Some(hostile), Some(tame)) = (rendered(channel, &hostile), rendered(channel, &tame)) else {
        return Ok(());
    };
    compare(&hostile, &tame).map_err(|what| format!("channel {}: {what}", channel.name()))
}

fn comment(part: impl Fn(usize) -> String) -> Comment {
    let mut to = Addressing::default();
    (to.sns_id, to.author, to.content_hash) = (part(2), part(3), part(4));
    (to.reply_to, to.wxid) = (part(5), part(6));
    Comment { content: part(1), addressing: to.into() }
}

fn rendered(channel: &Channel, comment: &Comment) -> Option<HttpRequest> {
    let scope = channel.scope(comment.clone(), DeliveryId::from_bytes([7; 16]), 1_800_000_000_000);
    channel.render(&scope).ok()
}

fn compare(hostile: &HttpRequest, tame: &HttpRequest) -> Result<(), String> {
    if hostile.method != tame.method {
        return Err(format!("the method became {}", hostile.method));
    }
    let (path, query) = split(&hostile.path_and_query);
    let (tame_path, tame_query) = split(&tame.path_and_query);
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !path.starts_with('/')
        || path.starts_with("//")
        || !plain(path)
        || !plain(query)
        || query.contains('#')
    {
        return Err(format!("the path became {:?}", hostile.path_and_query));
    }
    let url = format!("http://host.test:1{}", hostile.path_and_query);
    if !url.starts_with("http://host.test:1/") {
        return Err(format!("the URL became {url:?}"));
    }
    if path.split('/').count() != tame_path.split('/').count() || path.split('/').any(|part| part == "..") {
        return Err(format!("the path became {path:?}, which has another shape than {tame_path:?}"));
    }
    if names(query) != names(tame_query) {
        return Err(format!("the query became {query:?}, which has other names than {tame_query:?}"));
    }
    let headers =
        |request: &HttpRequest| request.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if headers(hostile) != headers(tame) {
        return Err(format!("the headers became {:?}", hostile.headers));
    }
    if hostile.content_type != tame.content_type {
        return Err(format!("the content type became {:?}", hostile.content_type));
    }
    compare_bodies(hostile, tame)
}

fn compare_bodies(hostile: &HttpRequest, tame: &HttpRequest) -> Result<(), String> {
    if hostile.body.is_empty() && tame.body.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&hostile.body);
    if hostile.content_type == Some("application/x-www-form-urlencoded") {
        let tame = String::from_utf8_lossy(&tame.body);
        if names(&text) != names(&tame) {
            return Err(format!("the form became {text:?}"));
        }
        return Ok(());
    }
    let json = |request: &HttpRequest| serde_json::from_slice::<Value>(&request.body);
    match (json(hostile), json(tame)) {
        (Ok(hostile), Ok(tame)) if shape(&hostile) == shape(&tame) => Ok(()),
        (Ok(_), Ok(_)) => Err(format!("the body became {text}")),
        _ => Err(format!("the body isn't JSON: {text}")),
    }
}

fn split(path_and_query: &str) -> (&str, &str) {
    path_and_query.split_once('?').unwrap_or((path_and_query, ""))
}

fn names(query: &str) -> Vec<&str> {
    query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name)).collect()
}

/// The structure of a body without its leaves' values. A text that reads as a number may be one.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", shape(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        _ => "leaf".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A comparison that never finds anything might be blind.
    #[test]
    fn every_change_of_shape_is_seen() {
        let comment = Comment { content: "x".into(), ..Comment::default() };
        let tame = rendered(super::super::channel(Some(&"board".into())).unwrap(), &comment).unwrap();
        assert_eq!(compare(&tame, &tame), Ok(()));
        let paths = ["//evil.test/x", "x", "/a b", "/api/comments/more", "/api/..", "/api/comments?admin=1"];
        let changed = paths.map(|path| HttpRequest { path_and_query: path.into(), ..tame.clone() });
        let bodies = ["{}", "[]", "what", "{\"admin\":true}"];
        let changed =
            changed.into_iter().chain(bodies.map(|body| HttpRequest { body: body.into(), ..tame.clone() }));
        for request in changed {
            assert!(compare(&request, &tame).is_err(), "{request:?}");
        }
    }
}
