//! `commentd channels try`: one comment through a manifest, everything shown.

use crate::commands::flags::ChannelFlags;
use crate::commands::parts::native;
use crate::failure::{CommandResult, Failure, config_failure};
use crate::{console, logging};
use commentd_channels::ChannelReply;
use commentd_contract::SystemClock;
use commentd_contract::{Addressing, VerdictKind, terminal};
use commentd_delivery::id::Ids;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::{Clock, Comment, Gate, Verdict};
use commentd_providers::native::NativeHttp;
use commentd_providers::{Provider, ProviderJob, Rendered};
use commentd_sidecar::ids::SystemIds;
use std::sync::Arc;
use std::time::Duration;

/// Exits like `post`: 0 if the comment is there, 3 if nobody knows, 1 otherwise.
const UNKNOWN: u8 = 3;
/// What a manifest sees as left of the deadline.
const DEADLINE: Duration = Duration::from_secs(10);

/// Send one comment and show everything.
#[derive(clap::Args)]
pub struct TryArgs {
    /// The channel's name: a built-in, or one of --channels-dir
    name: String,
    /// The comment
    text: String,
    /// The target; what that is, `channels show` tells
    #[arg(long, value_name = "TARGET", default_value = "")]
    sns_id: String,
    /// The comment that it answers
    #[arg(long, value_name = "ID", default_value = "")]
    reply_to: String,
    /// dry-run shows the request and sends nothing
    #[arg(long, value_name = "WORD", value_parser = ["live", "dry-run"], default_value = "live")]
    exchange: String,
    #[command(flatten)]
    channel: ChannelFlags,
}

impl std::fmt::Debug for TryArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // By hand, because the flags may hold secrets.
        f.debug_struct("TryArgs").field("name", &self.name).finish_non_exhaustive()
    }
}

pub(super) async fn run(args: &TryArgs) -> CommandResult {
    logging::start("warn", false);
    let written = args.channel.clone().with_channel(&args.name).load().map_err(config_failure)?;
    let (choice, warnings) = written.check_channel().map_err(config_failure)?;
    for warning in warnings {
        console::warn(&warning);
    }
    let clock = SystemClock::start();
    let provider = native(choice, clock)?;
    let id = SystemIds.fresh().map_err(Failure)?;
    let addressing =
        Addressing { sns_id: args.sns_id.clone(), reply_to: args.reply_to.clone(), ..Addressing::default() };
    let job = ProviderJob {
        id,
        comment: Arc::new(Comment { content: args.text.clone(), addressing: addressing.into() }),
        trace_id: "".into(),
        attempt: 1,
        began_ms: None,
        deadline: clock.now() + DEADLINE,
    };
    match provider.dry_run(&job) {
        Ok(rendered) => show_request(&rendered),
        Err(verdict) => {
            show_verdict(&verdict);
            return Ok(1);
        }
    }
    if args.exchange == "dry-run" {
        console::say("\ndry run: nothing was sent");
        return Ok(0);
    }
    send(&provider, &job).await
}

async fn send(provider: &NativeHttp, job: &ProviderJob) -> CommandResult {
    let (mut verdict, mut reply) = provider.try_out(job, &Gate::new()).await;
    if verdict.renewed {
        console::say("\nthe token was refused; trying once more with a new one");
        (verdict, reply) = provider.try_out(&ProviderJob { attempt: 2, ..job.clone() }, &Gate::new()).await;
    }
    match reply {
        Some(reply) => show_reply(&reply),
        None => console::say("\nreply: none"),
    }
    show_verdict(&verdict);
    if provider.rules().lookup.is_some() {
        let receipt = if verdict.comment_id_is_ours { verdict.comment_id.as_str() } else { "" };
        console::say(&format!("lookup: {}", told(&provider.lookup(job, receipt).await)));
    } else {
        console::say("lookup: the manifest has none");
    }
    console::say("not recorded in any ledger: to send it again is to post it again");
    Ok(match verdict.kind {
        VerdictKind::Delivered | VerdictKind::Held => 0,
        VerdictKind::Unknown => UNKNOWN,
        _ => 1,
    })
}

fn show_request(rendered: &Rendered) {
    console::say(&format!("request: {} {}", rendered.method, rendered.url));
    for (name, value) in &rendered.headers {
        console::say(&format!("  {name}: {value}"));
    }
    match &rendered.body {
        serde_json::Value::Null => {}
        serde_json::Value::String(text) => console::say(&format!("  {text}")),
        json => console::say(&indented(&format!("{json:#}"))),
    }
}

fn show_reply(reply: &ChannelReply) {
    console::say(&format!("\nreply: HTTP {}", reply.status));
    for (name, value) in reply.headers.to_map() {
        console::say(&format!("  {name}: {value}"));
    }
    let body = match serde_json::from_slice::<serde_json::Value>(&reply.body) {
        Ok(json) => format!("{json:#}"),
        Err(_) => String::from_utf8_lossy(&reply.body).into_owned(),
    };
    console::say(&indented(&body));
}

fn show_verdict(verdict: &Verdict) {
    console::say(&format!("\nverdict: {} (code {})", verdict.kind, verdict.code.number()));
    for (name, value) in [
        ("because", &verdict.message),
        ("comment id", &verdict.comment_id),
        ("the channel's code", &verdict.provider_error_code),
    ] {
        if !value.is_empty() {
            console::say(&format!("  {name}: {}", terminal::one_line(value)));
        }
    }
    if let Some(wait_ms) = verdict.retry_after_ms {
        console::say(&format!("  try again in {wait_ms} ms"));
    }
}

fn told(finding: &LookupResult) -> String {
    match finding {
        LookupResult::Found(verdict) => {
            format!("found, {} (comment id {})", verdict.kind, verdict.comment_id)
        }
        LookupResult::NotFound { complete: true } => "not found, in a complete scan".into(),
        LookupResult::NotFound { complete: false } => "not found, and the scan wasn't complete".into(),
        LookupResult::CannotBeKnown => {
            "this comment has nothing to be known by (no marker, receipt or slot)".into()
        }
        LookupResult::Failed(why) => format!("the channel couldn't be asked: {why}"),
        LookupResult::Alike(comment_id) => {
            format!(
                "not found by its marker, but there is one with the same text and without a marker ({comment_id})"
            )
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
