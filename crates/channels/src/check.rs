//! A manifest proves itself by its own examples.

use crate::channel::Channel;
use crate::foreign_pages::FOREIGN_PAGES;
use crate::judge::verdict_kind;
use crate::lookup::ListResult;
use crate::manifest::Manifest;
use crate::reply::ChannelReply;
use crate::scope::Scope;
use crate::written::{WrittenExample, WrittenReply};
use commentd_contract::Addressing;
use commentd_delivery::verdict::{Effect, rule};
use commentd_delivery::{Comment, DeliveryId};
use http::StatusCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Stands for a setting that must be given in earnest; also a key that can sign.
const EXAMPLE_SETTING: &str = "ZXhhbXBsZQ==";

/// The statuses under which pages of others are tried: those that are registered, and what nginx and Cloudflare add.
fn statuses() -> impl Iterator<Item = u16> {
    let is_used = |status: &u16| {
        let registered = StatusCode::from_u16(*status).is_ok_and(|known| known.canonical_reason().is_some());
        registered || *status == 499 || (520..=530).contains(status)
    };
    (400..600).filter(is_used)
}

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Examples that gave what they should.
    pub passed: usize,
    /// What is wrong, each with its example.
    pub problems: Vec<String>,
}

/// Runs all examples, and complains about a manifest without any.
pub fn check(manifest: &Manifest) -> CheckReport {
    let mut checked = CheckReport::default();
    let written = manifest.written();
    if written.examples.is_empty() {
        checked
            .problems
            .push("has no [[example]]: add a captured reply and the verdict expected of it".into());
    }
    for (index, example) in written.examples.iter().enumerate() {
        match run(manifest, example) {
            Ok(()) => checked.passed += 1,
            Err(problem) => {
                let line = manifest.line_of(&format!("example[{index}]"));
                let line = line.map(|line| format!("line {line}, ")).unwrap_or_default();
                checked.problems.push(format!("{line}example {:?}: {problem}", example.name));
            }
        }
    }
    checked.problems.extend(trusted_foreign_pages(manifest));
    for kind in written.verdicts.iter().filter_map(|verdict| verdict.is.as_deref()) {
        if !written.examples.iter().any(|example| example.verdict.as_deref() == Some(kind)) {
            checked.problems.push(format!("the verdict {kind:?} has no example"));
        }
    }
    checked
}

/// The example's settings. It is about replies; what must be given in earnest may be anything here.
pub(crate) fn example_settings(
    manifest: &Manifest,
    example: &WrittenExample,
) -> BTreeMap<String, toml::Value> {
    let mut settings = example.settings.clone();
    for (name, setting) in &manifest.written().settings {
        if setting.default.is_none() {
            settings.entry(name.clone()).or_insert_with(|| EXAMPLE_SETTING.into());
        }
    }
    settings
}

/// What is told of a manifest whose rules read a page of somebody else as if the channel said that it stored nothing.
fn trusted_foreign_pages(manifest: &Manifest) -> Vec<String> {
    let mut asked: Vec<&BTreeMap<String, toml::Value>> = Vec::new();
    let mut problems = BTreeMap::new();
    for example in manifest.written().examples.iter().filter(|example| example.verdict.is_some()) {
        if asked.contains(&&example.settings) {
            continue;
        }
        asked.push(&example.settings);
        // What is wrong with the settings, the example itself tells.
        let Ok((channel, scope)) = example_scope(manifest, example) else { continue };
        for (status, page) in statuses().flat_map(|status| FOREIGN_PAGES.iter().map(move |by| (status, by))) {
            let Some(reply) = page.reply(status) else { continue };
            let verdict = channel.judge(&reply, &scope);
            if verdict.rule().effect == Effect::None {
                problems.entry(verdict.kind.as_str()).or_insert_with(|| {
                    format!(
                        "a rule takes a page of something else before the channel ({}, HTTP {status}) for the \
                         channel's word that it is {}; such pages also come after a comment was stored, so let the \
                         rule ask for the channel's own words",
                        page.who, verdict.kind
                    )
                });
            }
        }
    }
    problems.into_values().collect()
}

/// The channel of an example, and what its expressions see of its comment.
pub(crate) fn example_scope(
    manifest: &Manifest,
    example: &WrittenExample,
) -> Result<(Channel, Scope), String> {
    let channel = manifest.channel(&example_settings(manifest, example))?;
    let id = match &example.delivery_id {
        None => DeliveryId::from_bytes([0; 16]),
        Some(text) => DeliveryId::parse(text).ok_or("delivery_id must have 32 hexadecimal digits")?,
    };
    let comment = Comment {
        content: example.comment.content.clone(),
        addressing: Arc::new(Addressing {
            sns_id: example.comment.sns_id.clone(),
            reply_to: example.comment.reply_to.clone(),
            wxid: example.comment.wxid.clone(),
            ..Addressing::default()
        }),
    };
    let scope = channel.scope(comment, id, 1_767_225_600_000);
    Ok((channel, scope))
}

fn run(manifest: &Manifest, example: &WrittenExample) -> Result<(), String> {
    let (channel, scope) = example_scope(manifest, example)?;
    match (&example.verdict, &example.finds) {
        (Some(_), None) if !example.then.is_empty() || example.receipt.is_some() => {
            Err("`then` and `receipt` are about lookups; they need `finds`".into())
        }
        (Some(verdict), None) => {
            let reply = captured(&example.reply);
            channel.render(&scope).map_err(|error| format!("the request can't be rendered: {}", error.0))?;
            judged(&channel, &reply, &scope, verdict, example.comment_id.as_deref())
        }
        (None, Some(finds)) => found(&channel, example, &scope, finds),
        _ => Err("needs either `verdict` or `finds`".into()),
    }
}

fn captured(written: &WrittenReply) -> ChannelReply {
    let headers = written.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    ChannelReply { status: written.status, headers: headers.collect(), body: written.body.clone().into() }
}

fn judged(
    channel: &Channel,
    reply: &ChannelReply,
    scope: &Scope,
    expected: &str,
    comment_id: Option<&str>,
) -> Result<(), String> {
    let kind = verdict_kind(expected)?;
    let receipt = channel.receipt(reply, scope);
    if rule(kind).effect == Effect::None && !receipt.is_empty() {
        return Err(format!(
            "expects {expected}, which says that nothing was stored, but its reply carries a receipt ({receipt})"
        ));
    }
    let verdict = channel.judge(reply, scope);
    if verdict.kind != kind {
        return Err(format!("expects {expected}, is {}: {}", verdict.kind, verdict.message));
    }
    match comment_id {
        Some(id) if id != verdict.comment_id => {
            Err(format!("expects the comment id {id:?}, reads {:?}", verdict.comment_id))
        }
        _ => Ok(()),
    }
}

fn found(channel: &Channel, example: &WrittenExample, scope: &Scope, expected: &str) -> Result<(), String> {
    let result = read_pages(channel, example, scope)?;
    let (finds, id) = match &result {
        ListResult::Found { kind, comment_id, .. } => (kind.as_str(), comment_id.as_str()),
        ListResult::NotFound { complete: true } => ("nothing", ""),
        ListResult::NotFound { complete: false } | ListResult::Alike(_) | ListResult::NoAnswer(_) => {
            ("undetermined", "")
        }
    };
    if finds != expected {
        return Err(format!("expects to find {expected}, finds {finds}"));
    }
    match &example.comment_id {
        Some(expected) if expected != id => Err(format!("expects the comment id {expected:?}, reads {id:?}")),
        _ => Ok(()),
    }
}

fn read_pages(channel: &Channel, example: &WrittenExample, scope: &Scope) -> Result<ListResult, String> {
    let receipt = example.receipt.as_deref().unwrap_or_default();
    let Some(mut pager) = channel.lookup_pager(scope, receipt) else {
        return Err("this delivery can't be looked up: the channel has no [lookup], or there is neither a \
             marker nor a receipt to know the comment by"
            .into());
    };
    let mut pages = std::iter::once(&example.reply).chain(&example.then);
    loop {
        pager.request().map_err(|error| format!("the lookup's request can't be rendered: {}", error.0))?;
        let Some(page) = pages.next() else {
            return Err("the lookup asks for another page; give its reply in `then`".into());
        };
        if let Some(result) = pager.read_page(&captured(page))? {
            return match pages.count() {
                0 => Ok(result),
                left => Err(format!("the lookup has ended, and {left} of the replies in `then` are left")),
            };
        }
    }
}
