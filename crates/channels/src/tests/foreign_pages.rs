//! What stands between commentd and a channel proves nothing.

use super::every::all;
use crate::Manifest;
use crate::check::{check, example_scope};
use crate::foreign_pages::FOREIGN_PAGES;
use commentd_contract::VerdictKind;

/// With the settings of its first example; the manifest's check tries those of the others.
#[test]
fn error_pages_of_others_prove_nothing_whatever_their_status() {
    let mut believed = Vec::new();
    for manifest in all() {
        let (channel, scope) = example_scope(&manifest, &manifest.written().examples[0]).unwrap();
        for stranger in &FOREIGN_PAGES {
            let kind = |status: &u16| channel.judge(&stranger.reply(*status).unwrap(), &scope).kind;
            let wrong = (300..600).find(|status| kind(status) != VerdictKind::Unknown);
            let said =
                |status| format!("{}: {} {status} is {}", manifest.origin(), stranger.who, kind(&status));
            believed.extend(wrong.map(said));
        }
    }
    assert!(believed.is_empty(), "{believed:#?}");
}

/// What somebody writes who has seen one refusal, and believes a status.
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
when = "status == 422"

[[verdict]]
is = "throttled"
when = "status == 429 and at('message') is not none"

[[example]]
name = "too long"
reply = { status = 422, body = '{"reason":"text_too_long"}' }
verdict = "refused"

[[example]]
name = "too fast"
reply = { status = 429, body = '{"message":"slow down"}' }
verdict = "throttled"
"#;

#[test]
fn a_manifest_that_believes_pages_of_others_is_rejected() {
    let problems = check(&Manifest::parse(CARELESS, "careless.toml").unwrap()).problems;
    assert_eq!(problems.len(), 2, "{problems:#?}");
    for (problem, kind) in problems.iter().zip(["refused", "throttled"]) {
        assert!(
            problem.contains(&format!("word that it is {kind}")) && problem.contains("own words"),
            "{problem}"
        );
    }
    let careful = CARELESS
        .replace("status == 422", "status == 422 and at('reason') == 'text_too_long'")
        .replace("at('message') is not none", "at('message') == 'slow down'");
    assert_eq!(check(&Manifest::parse(&careful, "careful.toml").unwrap()).problems, [""; 0]);
}
