//! What holds for every manifest that comes with commentd, built in or as an example.

use crate::check::{check, example_settings};
use crate::written::WrittenExample;
use crate::{HttpRequest, Manifest, RenderError, built_in};
use commentd_contract::Addressing;
use commentd_delivery::{Comment, DeliveryId};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The manifests in a directory of the repository, each with its path there.
fn manifests(directory: &str) -> Vec<Manifest> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join(directory)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".toml") {
            let path = format!("{directory}/{name}");
            let text = std::fs::read_to_string(root.join(&path)).unwrap();
            found.push(Manifest::parse(&text, &path).unwrap());
        }
    }
    found
}

pub(super) fn all() -> Vec<Manifest> {
    [manifests("channels"), manifests("channels/examples")].concat()
}

#[test]
fn every_manifest_in_channels_is_built_in() {
    let origins = |manifests: &[Manifest]| -> BTreeSet<String> {
        manifests.iter().map(|manifest| manifest.origin().to_owned()).collect()
    };
    assert_eq!(origins(&built_in().unwrap()), origins(&manifests("channels")));
}

#[test]
fn every_manifest_proves_itself_and_is_called_like_its_file() {
    for manifest in all() {
        let checked = check(&manifest);
        assert!(checked.problems.is_empty(), "{}: {:#?}", manifest.origin(), checked.problems);
        let least = if manifest.origin().contains("examples") { 2 } else { 5 };
        assert!(checked.passed >= least, "{} has too few examples", manifest.origin());
        let file = manifest.origin().rsplit('/').next().unwrap();
        assert_eq!(file, format!("{}.toml", manifest.written().name));
    }
}

/// The request for the comment of this example, with other values in it.
fn render(
    manifest: &Manifest,
    example: &WrittenExample,
    content: &str,
    target: &str,
    reply_to: &str,
) -> Result<HttpRequest, RenderError> {
    let channel = manifest.channel(&example_settings(manifest, example)).unwrap();
    let addressing = Addressing {
        sns_id: target.into(),
        reply_to: reply_to.into(),
        wxid: example.comment.wxid.clone(),
        ..Addressing::default()
    };
    let comment = Comment { content: content.into(), addressing: addressing.into() };
    channel.render(&channel.scope(comment, DeliveryId::from_bytes([7; 16]), 0))
}

/// A body with its texts and numbers taken out: what is left is its structure.
fn structure(body: &Value) -> Value {
    match body {
        Value::Array(items) => items.iter().map(structure).collect(),
        Value::Object(entries) => {
            entries.iter().map(|(name, value)| (name.clone(), structure(value))).collect()
        }
        Value::Null => Value::Null,
        Value::String(_) => "text".into(),
        Value::Number(_) | Value::Bool(_) => "value".into(),
    }
}

/// Method, path, the query's names, the headers' names and the body's structure.
fn shape(request: &HttpRequest) -> (String, String, Vec<String>, Vec<String>, Value) {
    let (path, query) = request.path_and_query.split_once('?').unwrap_or((&request.path_and_query, ""));
    let names = query.split('&').map(|part| part.split('=').next().unwrap().to_owned()).collect();
    let headers = request.headers.iter().map(|(name, _)| name.to_string()).collect();
    let body = serde_json::from_slice(&request.body).unwrap_or_default();
    (request.method.to_string(), path.to_owned(), names, headers, structure(&body))
}

fn carries(body: &Value, text: &str) -> bool {
    match body {
        Value::Array(items) => items.iter().any(|item| carries(item, text)),
        Value::Object(entries) => entries.values().any(|value| carries(value, text)),
        value => value == text,
    }
}

#[test]
fn hostile_content_changes_nothing_but_values() {
    let hostile = "\"},{{ settings }}{% for x %}</script>\r\nX-Evil: 1\u{0}\\ ?&#/../\u{1f600}";
    for manifest in all() {
        let name = &manifest.written().name;
        let example = manifest.written().examples.iter().find(|example| example.verdict.is_some()).unwrap();
        let comment = &example.comment;
        let benign = render(&manifest, example, "hello", &comment.sns_id, &comment.reply_to).unwrap();
        let evil = render(&manifest, example, hostile, &comment.sns_id, &comment.reply_to).unwrap();
        assert_eq!(shape(&benign), shape(&evil), "{name}");
        let body: Value = serde_json::from_slice(&evil.body).unwrap();
        assert!(carries(&body, hostile), "{name}: the content isn't there verbatim");
        // A target or parent that the channel can't have, where it wants a number, isn't rendered at all.
        for (target, reply_to) in [(hostile, comment.reply_to.as_str()), (&comment.sns_id, hostile)] {
            let Ok(evil) = render(&manifest, example, "hello", target, reply_to) else { continue };
            let parent =
                if comment.reply_to.is_empty() && !reply_to.is_empty() { "5" } else { &comment.reply_to };
            let benign = render(&manifest, example, "hello", &comment.sns_id, parent).unwrap();
            assert_eq!(shape(&benign), shape(&evil), "{name}");
            assert!(evil.path_and_query.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
        }
    }
}

#[test]
fn a_number_keeps_all_of_its_digits() {
    let gewe =
        manifests("channels/examples").into_iter().find(|manifest| manifest.is_called("gewe")).unwrap();
    let example = &gewe.written().examples[0];
    let request = render(&gewe, example, "hello", "14287710653886042616", "").unwrap();
    let body = String::from_utf8(request.body.to_vec()).unwrap();
    assert!(body.contains(r#""snsId":14287710653886042616"#), "{body}");
}
