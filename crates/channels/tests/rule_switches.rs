//! With each rule of reading replies switched off, a reply that proves nothing comes to a verdict without effect, or to
//! one of another's: the tests of the rules can fail.
//!
//! The switches are the process's, so this is a test binary of its own with a single test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use commentd_channels::{ChannelReply, Manifest, built_in};
use commentd_contract::VerdictKind;
use commentd_delivery::rule_switch::{RuleSwitch, restore, switch_off};
use commentd_delivery::{Comment, DeliveryId};
use std::collections::BTreeMap;

/// What somebody writes who trusts a status.
const CARELESS: &str = r#"
manifest = 1
name = "careless"
version = 1
summary = "a service"
target = "any"
reply = "none"

[send]
method = "POST"
path = "/"

[[verdict]]
is = "refused"
when = "status == 403"
"#;

fn judged(manifest: &Manifest, status: u16, body: &'static str) -> VerdictKind {
    let channel = manifest.channel(&BTreeMap::new()).unwrap();
    let scope = channel.scope(Comment::default(), DeliveryId::from_bytes([0; 16]), 0);
    let reply = ChannelReply { status, body: body.into(), ..ChannelReply::default() };
    channel.judge(&reply, &scope).kind
}

#[test]
fn every_rule_of_reading_replies_is_missed_when_it_is_switched_off() {
    let generic = built_in().unwrap().into_iter().find(|manifest| manifest.is_called("generic")).unwrap();
    let careless = Manifest::parse(CARELESS, "careless.toml").unwrap();
    let replies = [
        (RuleSwitch::ErrorPagesProveNothing, &careless, 403, "<h1>Forbidden</h1>"),
        (
            RuleSwitch::RepeatedNamesProveNothing,
            &generic,
            200,
            r#"{"v":1,"ok":false,"error_code":56,"error_code":52,"data":{}}"#,
        ),
        (
            RuleSwitch::RefusalsOfOthersProveNothing,
            &generic,
            200,
            r#"{"v":1,"ok":false,"error_code":52,"task_id":"somebody-elses-task","data":{}}"#,
        ),
    ];
    let tried: Vec<RuleSwitch> = replies.iter().map(|(rule, ..)| *rule).collect();
    let all: Vec<RuleSwitch> = RuleSwitch::ALL.into_iter().filter(|rule| rule.is_about_replies()).collect();
    assert_eq!(tried, all);
    for (rule, manifest, status, body) in replies {
        assert_eq!(judged(manifest, status, body), VerdictKind::Unknown, "{rule}");
        switch_off(rule);
        assert_eq!(judged(manifest, status, body), VerdictKind::Refused, "{rule} isn't missed");
        restore();
    }
}
