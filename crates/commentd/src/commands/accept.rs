//! `commentd accept`: judges a running sidecar.

use super::serve::{config_failure, native};
use crate::cli::ChannelFlags;
use crate::{Ended, Failure, console, logging};
use commentd_acceptance::{AcceptArgs, Progress, ReadComment, Reader};
use commentd_contract::report::Round;
use commentd_providers::native::NativeHttp;
use commentd_sidecar::clock::SystemClock;
use indicatif::{ProgressBar, ProgressStyle};
use std::future::Future;
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

impl Reader for BackReader {
    fn read<'a>(
        &'a self,
        target: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<ReadComment>, String>> + Send + 'a>> {
        Box::pin(async move {
            let items = self.0.read_back(target).await?;
            let comment = |item: commentd_providers::manifest::Item| ReadComment {
                comment_id: item.comment_id,
                text: item.text,
            };
            Ok(items.into_iter().map(comment).collect())
        })
    }
}

/// A bar on a terminal, nothing elsewhere; notes go to stderr.
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

pub(crate) async fn run(command: AcceptCommand) -> Ended {
    logging::start("warn", false);
    let options = command.args.check(&|name| std::env::var(name).ok())?;
    for warning in &options.warnings {
        console::warn(warning);
    }
    let reader = if options.verify { Some(reader(command.channel)?) } else { None };
    let reader = reader.as_ref().map(|reader| reader as &dyn Reader);
    let bar = Bar::default();
    let clock = commentd_acceptance::SystemClock::new();
    let ended = commentd_acceptance::run(&options, reader, &clock, &bar).await;
    if let Some(bar) = bar.bar.get() {
        bar.finish_and_clear();
    }
    let code = commentd_acceptance::exit_code(&ended);
    let report = ended?;
    let path = commentd_acceptance::write_report(&report, &options)?;
    if options.json {
        console::say(&serde_json::to_string_pretty(&report)?);
    } else {
        console::say(&commentd_acceptance::render_summary(&report));
        console::say(&format!("report: {}", path.display()));
    }
    Ok(code)
}

fn reader(flags: ChannelFlags) -> Result<BackReader, Failure> {
    let written = flags.load().map_err(config_failure)?;
    let (choice, warnings) = written.check_channel().map_err(config_failure)?;
    for warning in warnings {
        console::warn(&warning);
    }
    Ok(BackReader(Arc::new(native(choice, SystemClock::start())?)))
}
