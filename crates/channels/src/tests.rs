mod every;
mod foreign_pages;
mod lookups;
mod replies;

use super::check::check;
use super::{Manifest, built_in};
use commentd_contract::Addressing;
use commentd_delivery::{Comment, DeliveryId};
use std::collections::BTreeMap;

fn comment(content: &str) -> Comment {
    let addressing = Addressing { sns_id: "/p/1".into(), ..Addressing::default() };
    Comment { content: content.into(), addressing: addressing.into() }
}

#[test]
fn old_names_still_find_their_channel() {
    assert!(built_in().unwrap().iter().any(|manifest| manifest.is_called("wxbot_sendtxt")));
}

#[test]
fn bad_manifests_are_told_where_they_are_wrong() {
    let isso = include_str!("../../../channels/isso.toml");
    for (from, to, says) in [
        ("settles_within_s = \"settings", "setles_within_s = \"settings", "setles_within_s"),
        ("manifest = 1", "manifest = 2", "format"),
        ("version = 1", "version = \"one\"", "version"),
        ("echo = \"at('website')", "echo = \"at('website'", "echo"),
        ("is = \"throttled\"", "is = \"slow\"", "slow"),
        ("method = \"POST\"", "method = \"DELETE\"", "method"),
        ("path = \"/new\"", "path = \"/new?x=1\"", "path"),
    ] {
        assert!(isso.contains(from), "{from}");
        let error = Manifest::parse(&isso.replacen(from, to, 1), "mine.toml").unwrap_err().to_string();
        assert!(error.contains(says), "{to}: {error}");
        let line = isso[..isso.find(from).unwrap()].matches('\n').count() + 1;
        assert!(error.starts_with(&format!("mine.toml:{line}: ")), "{to}: {error}");
    }
}

#[test]
fn an_auth_section_that_makes_no_sense_is_told_what_to_write() {
    let isso = include_str!("../../../channels/isso.toml");
    for (section, says) in [
        ("kind = \"bearer\"", "auth.secret: is missing"),
        ("kind = \"basic\"\nuser = \"'a'\"", "auth.password: is missing"),
        ("kind = \"header\"\nsecret = \"'a'\"", "auth.name: is missing"),
        ("kind = \"header\"\nname = \"Host\"\nsecret = \"'a'\"", "auth.name: is set by commentd"),
        ("kind = \"bearer\"\nsecret = \"'a'\"\nname = \"x\"", "auth.name: has no meaning"),
        ("kind = \"token\"\ntoken = \"at('t')\"", "auth.request: is missing"),
        ("kind = \"signature\"", "auth.keys: is missing"),
        ("kind = \"bearer\"\nsecret = \"'s3cret'\"", "auth.secret: a secret must not stand in a manifest"),
        (
            "[settings.t]\ntype = \"secret\"\nhelp = \"x\"\ndefault = \"s3cret\"",
            "settings.t.default: a secret must not",
        ),
        ("kind = \"oauth\"", "unknown variant `oauth`"),
    ] {
        let text = format!("{isso}\n[auth]\n{section}\n");
        let error = Manifest::parse(&text, "mine.toml").unwrap_err().to_string();
        assert!(error.contains(says), "{section}: {error}");
    }
    let signed = format!("{isso}\n[auth]\nkind = \"signature\"\nkeys = [\"settings.author\"]\n");
    let manifest = Manifest::parse(&signed, "x").unwrap();
    let error = manifest.channel(&BTreeMap::from([("author".into(), "n0 key!".into())])).unwrap_err();
    assert!(error.contains("whsec_"), "{error}");
}

#[test]
fn a_form_is_encoded_and_whole_numbers_lose_nothing() {
    let isso = include_str!("../../../channels/isso.toml");
    let start = isso.find("[send.body]").unwrap();
    let end = start + isso[start..].find("[[verdict]]").unwrap();
    let sent = |body: &str| {
        let text = format!("{}{body}\n{}", &isso[..start], &isso[end..]);
        let manifest = Manifest::parse(&text, "x").unwrap();
        let channel = manifest.channel(&BTreeMap::new()).unwrap();
        let mut comment = comment("a&b=ü c");
        std::sync::Arc::make_mut(&mut comment.addressing).sns_id = "14287710653886042616".into();
        channel.render(&channel.scope(comment, DeliveryId::from_bytes([0; 16]), 0)).unwrap()
    };
    let form = sent("[send.form]\ntext = \"content\"\nid = \"sns_id|int\"\nnothing = \"none\"");
    assert_eq!(form.content_type, Some("application/x-www-form-urlencoded"));
    assert_eq!(&form.body[..], b"id=14287710653886042616&text=a%26b%3D%C3%BC+c");
    let json = sent("[send.body]\nids = [{ id = \"sns_id|int\" }]\nat = \"now_s\"\nn = \"nonce\"");
    assert_eq!(&json.body[..], br#"{"at":0,"ids":[{"id":14287710653886042616}],"n":"0000000000000000"}"#);
}

#[test]
fn an_example_that_lies_is_found() {
    let board = include_str!("../../../channels/board.toml");
    let lying = board.replacen("verdict = \"throttled\"", "verdict = \"delivered\"", 1);
    assert!(!check(&Manifest::parse(&lying, "x").unwrap()).problems.is_empty());
    let receipt = board.replacen("{\"error\":\"throttled\"", "{\"id\":\"9\",\"error\":\"throttled\"", 1);
    let problems = check(&Manifest::parse(&receipt, "x").unwrap()).problems;
    assert!(problems.iter().any(|problem| problem.contains("receipt")), "{problems:?}");
}

#[test]
fn settings_are_typed_and_named() {
    let manifests = built_in().unwrap();
    let isso = manifests.iter().find(|manifest| manifest.is_called("isso")).unwrap();
    let given = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), toml::Value::from(value))]);
    assert!(isso.channel(&given("unmoderated", "true")).unwrap().lookup_ability().unwrap().sees_every_state);
    let error = isso.channel(&given("unmoderated", "maybe")).unwrap_err();
    assert!(error.contains("unmoderated") && error.contains("true or false"), "{error}");
    let error = isso.channel(&given("websight", "x")).unwrap_err();
    assert!(error.contains("websight") && error.contains("website"), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let manifests = built_in().unwrap();
    let generic = manifests.iter().find(|manifest| manifest.is_called("generic")).unwrap();
    let settings = BTreeMap::from([("authorization".to_owned(), toml::Value::from("Bearer s3cret"))]);
    let channel = generic.channel(&settings).unwrap();
    let id = DeliveryId::from_bytes([0; 16]);
    let shown = channel.render(&channel.redacted_scope(comment("a"), id, 0)).unwrap();
    assert_eq!(shown.headers[0].1.to_str().unwrap(), "***");
    let sent = channel.render(&channel.scope(comment("a"), id, 0)).unwrap();
    assert_eq!(sent.headers[0].1.to_str().unwrap(), "Bearer s3cret");
    assert_eq!(channel.redact("echo: Bearer s3cret"), "echo: ***");
    assert_eq!(channel.redact("bad token s3cret"), "bad token ***");
    assert!(!format!("{channel:?}").contains("s3cret"));
}
