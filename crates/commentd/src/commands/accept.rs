//! `commentd accept`: judges a running sidecar.

use super::parts::native;
use crate::commands::flags::ChannelFlags;
use crate::failure::{CommandResult, Failure, config_failure};
use crate::{console, logging};
use commentd_acceptance::{AcceptArgs, AcceptOptions, Progress, ReadComment, TargetReader};
use commentd_contract::SystemClock;
use commentd_contract::report::Round;
use commentd_contract::terminal;
use commentd_providers::native::NativeHttp;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::future::Future;
use std::io::IsTerminal;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// Judge a running sidecar: rounds of batches, a report, exit 0 if the goal is passed, 1 if not, 2 if it could not run.
#[derive(clap::Args)]
pub struct AcceptCommand {
    #[command(flatten)]
    args: AcceptArgs,
    /// The channel to read back from with --verify: the same flags as `serve`.
    #[command(flatten)]
    channel: ChannelFlags,
}

impl std::fmt::Debug for AcceptCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcceptCommand").finish_non_exhaustive()
    }
}

/// Reads a target back from the channel itself.
pub(crate) struct BackReader(pub(crate) Arc<NativeHttp>);

impl TargetReader for BackReader {
    fn read<'a>(
        &'a self,
        target: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<ReadComment>, String>> + Send + 'a>> {
        Box::pin(async move {
            let items = self.0.read_back(target).await?;
            let comment = |item: commentd_channels::ListedComment| ReadComment {
                comment_id: item.comment_id,
                text: item.text,
            };
            Ok(items.into_iter().map(comment).collect())
        })
    }
}

/// A progress bar on a terminal, nothing elsewhere; notes go to stderr.
#[derive(Default)]
struct Bar {
    bar: OnceLock<ProgressBar>,
}

impl Progress for Bar {
    fn round_started(&self, _round: u32, rounds: u32) {
        self.bar.get_or_init(|| {
            let bar = ProgressBar::new(u64::from(rounds));
            if let Ok(style) = ProgressStyle::with_template("  round {pos} of {len} {wide_bar} {elapsed}") {
                bar.set_style(style);
            }
            bar
        });
    }

    fn round_finished(&self, _round: &Round) {
        if let Some(bar) = self.bar.get() {
            bar.inc(1);
        }
    }

    fn note(&self, text: &str) {
        match self.bar.get() {
            Some(bar) => bar.suspend(|| console::warn(text)),
            None => console::warn(text),
        }
    }
}

pub(crate) async fn run(command: AcceptCommand) -> CommandResult {
    logging::start("warn", false);
    let options = command.args.check(&|name| std::env::var(name).ok())?;
    for warning in &options.warnings {
        console::warn(warning);
    }
    let reader = if options.verify { Some(reader(command.channel)?) } else { None };
    let reader = reader.as_ref().map(|reader| reader as &dyn TargetReader);
    if !options.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        let health = commentd_acceptance::health(&options).await?;
        if let Some(question) = question(&options, &health) {
            console::ask(&question);
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer)?;
            if !matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
                return Err(Failure("nothing was sent; --yes goes on without asking".into()));
            }
        }
    }
    let bar = Bar::default();
    let clock = SystemClock::start();
    let ended = commentd_acceptance::run(&options, reader, &clock, &bar).await;
    if let Some(bar) = bar.bar.get() {
        bar.finish_and_clear();
    }
    let code = commentd_acceptance::exit_code(&ended);
    let report = ended?;
    let path = commentd_acceptance::write_report(&report, &options)?;
    if options.json {
        console::say_json(&serde_json::to_string_pretty(&report)?);
    } else {
        console::say(&commentd_acceptance::render_summary(&report));
        console::say(&format!("report: {}", path.display()));
    }
    Ok(code)
}

/// What a person is asked before comments are posted that others see; nothing where none are.
fn question(options: &AcceptOptions, health: &Value) -> Option<String> {
    let text = |name: &str| health.get(name).and_then(Value::as_str).unwrap_or_default();
    let posts_nothing = text("provider") == "mock" || matches!(text("exchange"), "dry-run" | "replay");
    if posts_nothing || text("upstream_kind") == "board" {
        return None;
    }
    let target = match options.addressing.sns_id.as_str() {
        "" => "a target that the provider chooses".to_owned(),
        target => format!("{target:?}"),
    };
    let place = [text("upstream_kind"), text("upstream_base_url")].map(terminal::one_line);
    let place =
        if place.iter().all(String::is_empty) { text("provider").to_owned() } else { place.join(" ") };
    Some(format!(
        "This posts {} real comments under {target}, through the sidecar at {} ({}). Go on? [y/N] ",
        u64::from(options.rounds) * u64::from(options.count),
        options.base_url_shown,
        place.trim()
    ))
}

fn reader(flags: ChannelFlags) -> Result<BackReader, Failure> {
    let written = flags.load().map_err(config_failure)?;
    let (choice, warnings) = written.check_channel().map_err(config_failure)?;
    for warning in warnings {
        console::warn(&warning);
    }
    Ok(BackReader(Arc::new(native(choice, SystemClock::start())?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_person_is_asked_before_others_see_the_comments() {
        let args = AcceptArgs { sns_id: Some("/blog/first".into()), ..AcceptArgs::default() };
        let options = args.check(&|_| None).unwrap();
        let asked = |health: Value| question(&options, &health);
        let live = json!({"provider": "native_http", "upstream_kind": "isso", "upstream_base_url": "http://blog",
            "exchange": "live"});
        let question = asked(live.clone()).unwrap();
        for says in ["50 real comments", "\"/blog/first\"", "isso http://blog", "127.0.0.1:19080"] {
            assert!(question.contains(says), "{says} isn't in {question}");
        }
        for (name, value) in [
            ("upstream_kind", "board"),
            ("provider", "mock"),
            ("exchange", "dry-run"),
            ("exchange", "replay"),
        ] {
            let mut health = live.clone();
            health[name] = value.into();
            assert_eq!(asked(health), None, "{name} {value}");
        }
        assert!(asked(json!({"provider": "hook"})).unwrap().contains("(hook)"), "the original sidecar");
    }
}
