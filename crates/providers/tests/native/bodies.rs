//! How bodies travel: what is asked for, and what comes all the same.

use crate::stand_in::StandIn;
use crate::support::{HandClock, attempt, job, provider};
use commentd_contract::VerdictKind;
use commentd_providers::Provider;

/// `{}`, compressed as gzip does.
const GZIP: [u8; 22] =
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];

const ALL: &str = r#"
[auth]
kind = "token"
token = "at('access_token')"
[auth.request]
method = "POST"
path = "/token"

[probe]
able = "status == 200"
not_able = "false"
[probe.request]
method = "GET"
path = "/probe"

[lookup]
answers = "status == 200"
items = "[]"
complete = "true"
ours = "item.id == delivery_id"
id = "item.id"
text = "item.id"
sees_every_state = true
[lookup.request]
method = "GET"
path = "/lookup"
"#;

#[tokio::test]
async fn every_request_asks_for_no_compression() {
    let clock = HandClock::default();
    let server = StandIn::start(|_| (200, r#"{"access_token":"t"}"#.into())).await;
    let provider = provider(ALL, &server.url, ["", ""], &clock);
    attempt(&provider, &job(1, 1, &clock)).await;
    provider.ask_ability().await.unwrap();
    provider.lookup(&job(1, 1, &clock), "12").await;
    for path in ["/token", "/send", "/probe", "/lookup"] {
        let asked = server.asked(path);
        assert_eq!(asked.len(), 1, "{path}");
        assert_eq!(asked[0].header("accept-encoding"), Some("identity"), "{path}");
    }
}

#[tokio::test]
async fn a_reply_that_was_compressed_unasked_is_read_and_another_coding_is_named() {
    let clock = HandClock::default();
    let reply = |coding: &str, body: &[u8]| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let server = StandIn::reciting(reply("gzip", &GZIP)).await;
    let verdict = attempt(&provider("", &server.url, ["", ""], &clock), &job(1, 1, &clock)).await;
    assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
    let server = StandIn::reciting(reply("br", b"\x0b\x00\x80{}\x03")).await;
    let verdict = attempt(&provider("", &server.url, ["", ""], &clock), &job(1, 1, &clock)).await;
    assert_eq!(verdict.kind, VerdictKind::Unknown);
    assert!(verdict.message.contains("compressed (br)"), "{}", verdict.message);
}
