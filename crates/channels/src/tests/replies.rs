//! What replies mean that aren't as the channel's own server would write them, and what people are told of them.

use crate::{ChannelReply, ReplyHeaders, built_in};
use commentd_contract::{Code, VerdictKind};
use commentd_delivery::{Comment, DeliveryId, Verdict};
use std::collections::BTreeMap;

fn judged_with(settings: &[(&str, &str)], channel: &str, status: u16, body: impl Into<Vec<u8>>) -> Verdict {
    let kind = if body_is_html(channel) { "text/html" } else { "application/json" };
    judge(settings, channel, &[("content-type", kind)], status, body.into())
}

fn body_is_html(channel: &str) -> bool {
    channel == "isso"
}

fn judge(
    settings: &[(&str, &str)],
    channel: &str,
    headers: &[(&str, &str)],
    status: u16,
    body: Vec<u8>,
) -> Verdict {
    let manifest = built_in().unwrap().into_iter().find(|manifest| manifest.is_called(channel)).unwrap();
    let settings: BTreeMap<String, toml::Value> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), toml::Value::from(*value))).collect();
    let channel = manifest.channel(&settings).unwrap();
    let headers: ReplyHeaders =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let comment = Comment { content: "hello".into(), ..Comment::default() };
    let scope = channel.scope(comment, DeliveryId::from_bytes([0; 16]), 0);
    channel.judge(&ChannelReply { status, headers, body: body.into() }, &scope)
}

fn judged(channel: &str, status: u16, body: impl Into<Vec<u8>>) -> Verdict {
    judged_with(&[], channel, status, body)
}

#[test]
fn a_reply_that_says_a_thing_twice_is_unknown_for_good_and_for_bad() {
    for (channel, status, body) in [
        (
            "generic",
            200,
            r#"{"v":1,"ok":true,"error_code":0,"data":{"outcome":"refused","outcome":"delivered"}}"#,
        ),
        ("generic", 200, r#"{"v":1,"ok":true,"ok":false,"error_code":52}"#),
        ("wxbot", 200, r#"{"code":500,"code":200,"msg":"success"}"#),
        ("wxbot", 200, r#"{"code":200,"msg":"success","x":{"y":1,"y":1}}"#),
        ("wordpress", 201, r#"{"id":1,"id":2,"parent":0,"author":0,"status":"approved"}"#),
        ("wordpress", 409, r#"{"code":"x","code":"comment_duplicate","message":"m"}"#),
        ("waline", 200, r#"{"errno":1000,"errmsg":"Comment too fast!","errno":0}"#),
        ("twikoo", 200, r#"{"id":"a","code":0,"id":"b"}"#),
        ("board", 400, r#"{"error":"internal","error":"empty_text","message":"m"}"#),
    ] {
        let verdict = judged(channel, status, body);
        assert_eq!(verdict.kind, VerdictKind::Unknown, "{channel}: {body}");
        assert!(verdict.message.contains("comes twice"), "{channel}: {}", verdict.message);
    }
}

#[test]
fn the_channels_own_code_and_text_are_told_also_where_no_rule_matches() {
    for (channel, status, body, code, message) in [
        ("generic", 200, r#"{"v":1,"ok":false,"error_code":51,"error_message":"timeout"}"#, "51", "timeout"),
        (
            "generic",
            200,
            r#"{"v":1,"ok":false,"error_code":56,"error_message":"?","data":{"provider_error_code":"","provider_error_message":"reset"}}"#,
            "56",
            "reset",
        ),
        (
            "wordpress",
            500,
            r#"{"code":"rest_comment_failed_create","message":"Creating comment failed."}"#,
            "rest_comment_failed_create",
            "Creating comment failed.",
        ),
        ("waline", 500, r#"{"errno":500,"errmsg":"no user"}"#, "500", "no user"),
        ("twikoo", 200, r#"{"code":1000,"message":"Cannot read"}"#, "1000", "Cannot read"),
        (
            "board",
            500,
            r#"{"error":"internal","message":"the board failed"}"#,
            "internal",
            "the board failed",
        ),
        ("board", 302, r#"{"error":"moved","message":"elsewhere"}"#, "moved", "elsewhere"),
        ("isso", 404, r#"{"message":"404 Not Found: no such URL"}"#, "", "404 Not Found: no such URL"),
        (
            "board",
            201,
            r#"{"id":"1","state":"shown","marker":"x","error":"odd","message":"another's"}"#,
            "odd",
            "another's",
        ),
    ] {
        let verdict = judged(channel, status, body);
        assert_eq!(verdict.kind, VerdictKind::Unknown, "{channel}: {body}");
        assert_eq!(
            (verdict.provider_error_code.as_str(), verdict.provider_error_message.as_str()),
            (code, message),
            "{channel}: {body}"
        );
    }
}

#[test]
fn a_refusal_that_shows_a_stored_comment_is_unknown_and_names_it() {
    for (channel, status, body) in [
        ("generic", 200, r#"{"v":1,"ok":false,"error_code":52,"data":{"comment_id":"12"}}"#),
        (
            "generic",
            200,
            r#"{"v":1,"ok":false,"error_code":10,"data":{"outcome":"not_sent","comment_id":"12"}}"#,
        ),
        ("isso", 403, r#"{"message":"403 Forbidden: CSRF","id":12}"#),
        ("wordpress", 403, r#"{"code":"rest_comment_closed","message":"closed","id":12}"#),
        (
            "waline",
            200,
            r#"{"errno":1000,"errmsg":"Comment too fast!","data":{"objectId":12,"orig":"hello"}}"#,
        ),
        ("twikoo", 200, r#"{"code":1000,"message":"发言频率过高","id":"12"}"#),
        (
            "board",
            400,
            r#"{"error":"empty_text","message":"m","id":"12","text":"hello","marker":"00000000000000000000000000000000"}"#,
        ),
    ] {
        let verdict = judged(channel, status, body);
        assert_eq!(
            (verdict.kind, verdict.comment_id.as_str()),
            (VerdictKind::Unknown, "12"),
            "{channel}: {body}"
        );
    }
}

#[test]
fn a_no_that_answers_another_request_says_nothing_of_ours() {
    let body = |task: &str| format!(r#"{{"v":1,"ok":false,"error_code":52,"task_id":"{task}"}}"#);
    assert_eq!(judged("generic", 200, body(&"0".repeat(32))).kind, VerdictKind::Refused);
    assert_eq!(judged("generic", 200, body("")).kind, VerdictKind::Refused);
    let anothers = judged("generic", 200, body(&"1".repeat(32)));
    assert_eq!(anothers.kind, VerdictKind::Unknown);
    assert!(anothers.message.contains("another request"), "{}", anothers.message);
    assert_eq!(anothers.provider_error_code, "52");
}

#[test]
fn a_byte_order_mark_before_json_is_skipped() {
    let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    assert_eq!(judged("wxbot", 200, marked(r#"{"code":200,"msg":"success"}"#)).kind, VerdictKind::Delivered);
    let flood = judged("wordpress", 400, marked(r#"{"code":"comment_flood","message":"slow"}"#));
    assert_eq!(flood.kind, VerdictKind::Throttled);
    let html = judged("isso", 400, marked("<h1>Bad Request</h1>\n<p>text is missing</p>\n"));
    assert_eq!(html.kind, VerdictKind::Refused);
}

/// Whoever reads past it would read what somebody else may have put there. A lookup finds the comment.
#[test]
fn what_stands_before_the_json_leaves_it_unread_and_is_told() {
    for before in [
        "<br />\n<b>Notice</b>:  Undefined index: x in <b>/w/a.php</b> on line <b>3</b><br />\n",
        "<!-- cached by a plugin -->\n",
        "\n\nWarning: Cannot modify header information\n",
    ] {
        for (channel, status, body) in [
            ("wordpress", 201, r#"{"id":1,"parent":0,"author":0,"status":"approved"}"#),
            ("wordpress", 409, r#"{"code":"comment_duplicate","message":"m"}"#),
            ("twikoo", 200, r#"{"code":1000,"message":"发言频率过高"}"#),
        ] {
            let verdict = judged(channel, status, format!("{before}{body}"));
            assert_eq!(
                (verdict.kind, verdict.code),
                (VerdictKind::Unknown, Code::UpstreamBadReply),
                "{before}{body}"
            );
            assert!(verdict.message.contains("something before it"), "{}", verdict.message);
        }
    }
}

#[test]
fn another_charset_is_named_and_its_garbage_not_shown() {
    let gbk = b"{\"code\":500,\"msg\":\"\xb7\xa2\xcb\xcd\xca\xa7\xb0\xdc\"}".to_vec();
    let named = judge(&[], "wxbot", &[("content-type", "text/html; charset=GB2312")], 200, gbk.clone());
    let guessed = judge(&[], "wxbot", &[], 200, gbk);
    for (verdict, charset) in [(named, "gb2312"), (guessed, "perhaps GBK")] {
        assert_eq!((verdict.kind, verdict.provider_error_code.as_str()), (VerdictKind::Unknown, "500"));
        for text in [&verdict.message, &verdict.provider_error_message] {
            assert!(text.contains(charset) && !text.contains('\u{fffd}'), "{text}");
        }
    }
    let utf16: Vec<u8> = "{\"code\":200}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(judged("wxbot", 200, [b"\xff\xfe".to_vec(), utf16].concat()).kind, VerdictKind::Unknown);
}

#[test]
fn a_word_counts_as_success_only_where_the_user_says_so_and_no_other_word_is_a_failure() {
    let ok = r#"{"code":200,"msg":"OK"}"#;
    assert_eq!(judged("wxbot", 200, ok).kind, VerdictKind::Unknown);
    assert_eq!(
        judged_with(&[("success_words", "success,ok")], "wxbot", 200, ok).kind,
        VerdictKind::Delivered
    );
    let absent = [("explicit_failure_means_absent", "true")];
    assert_eq!(judged_with(&absent, "wxbot", 200, ok).kind, VerdictKind::Unknown);
    for failed in [r#"{"code":200,"msg":"faild"}"#, r#"{"code":500,"message":"x"}"#] {
        assert_eq!(judged_with(&absent, "wxbot", 200, failed).kind, VerdictKind::Denied, "{failed}");
        assert_eq!(judged("wxbot", 200, failed).kind, VerdictKind::Unknown, "{failed}");
    }
}
