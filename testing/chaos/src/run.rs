//! All lives of a run, and the judgement.

use crate::client::ClientLog;
use crate::error::ChaosError;
use crate::life::{PlannedEnd, RunContext, live, random_of};
use crate::options::ChaosOptions;
use crate::requests::UncertainKeys;
use crate::state::{RunIdentity, RunState, write_whole};
use crate::upstream::Upstream;
use commentd_checker::{Summary, Violation};
use commentd_contract::SystemClock;
use commentd_contract::time::whole_ms;
use commentd_delivery::Clock;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Violations whose history is kept in the result; the summary counts all.
const MOST_TOLD: usize = 100;

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct ChaosResult {
    /// Which run it was.
    #[serde(flatten)]
    pub identity: RunIdentity,
    /// Lives, each ended by `kill -9`.
    pub lives: u64,
    /// How they ended.
    pub endings: BTreeMap<String, u64>,
    /// Time that the lives took, in milliseconds.
    pub took_ms: u64,
    /// Keys that were not certain at the end.
    pub keys_left: u64,
    /// The checker's figures.
    pub summary: Summary,
    /// The share of the comments hit by a fault that stayed unknown, in percent.
    pub unknown_after_percent: f64,
    /// The first violations with their histories.
    pub violations: Vec<Violation>,
}

/// Does what the options say, up to where `stop` is ready. A run that was stopped is gone on with by the next one
/// on its directory.
///
/// # Errors
/// When it can't go on, was stopped, or the sidecar crashed.
pub async fn run(options: &ChaosOptions, stop: impl Future<Output = ()>) -> Result<ChaosResult, ChaosError> {
    let mut state = RunState::load(options).await?;
    let path = options.state.join("clients.jsonl");
    let log = ClientLog::read(&path)?;
    let upstream = Upstream::start(options, &state).await?;
    let clock = SystemClock::start();
    let context = Arc::new(RunContext {
        options: options.clone(),
        program: program(options)?,
        url: upstream.url.clone(),
        log: ClientLog::open(&path, log.calls, clock)?,
        pending: Mutex::new(UncertainKeys::of(&log)),
        clock,
    });
    drop(log);
    let lives = async {
        let progress = progress(options.cycles, state.lives);
        while state.lives <= options.cycles {
            let life = state.lives;
            let began = context.clock.now();
            // The one after the last only settles what is left.
            let end = match life < options.cycles {
                true => PlannedEnd::of(life, options.keys, &mut random_of(options.seed, !life)),
                false => PlannedEnd::Settled,
            };
            let ended = live(&context, life, end).await?;
            state.life_is_over(ended, whole_ms(context.clock.now() - began))?;
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok::<(), ChaosError>(())
    };
    tokio::select! {
        ended = lives => ended?,
        () = stop => return Err(ChaosError("stopped; the same command goes on from here".into())),
    }
    let keys_left = context.pending.lock().map_or(0, |pending| pending.len() as u64);
    let record = upstream.end().await?;
    let (summary, mut violations) = Summary::of(&ClientLog::read(&path)?, &record);
    violations.truncate(MOST_TOLD);
    let result = ChaosResult {
        identity: state.identity.clone(),
        lives: state.lives,
        endings: state.endings.clone(),
        took_ms: state.took_ms,
        keys_left,
        unknown_after_percent: summary.unknown_after_percent(),
        summary,
        violations,
    };
    if let Some(file) = &options.json {
        write_whole(file, &serde_json::to_vec_pretty(&result)?)?;
    }
    Ok(result)
}

fn program(options: &ChaosOptions) -> Result<PathBuf, ChaosError> {
    let beside = || Ok(std::env::current_exe()?.with_file_name("commentd-with-failpoints"));
    options.program.clone().map_or_else(beside, Ok)
}

fn progress(lives: u64, done: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} lives, {eta} left");
    let bar = ProgressBar::new(lives + 1).with_position(done);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl std::fmt::Display for ChaosResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endings: Vec<String> = self.endings.iter().map(|(end, count)| format!("{end} {count}")).collect();
        writeln!(f, "  lives                 {} in {} s", self.lives, self.took_ms / 1000)?;
        writeln!(f, "  ended                 {}", endings.join(", "))?;
        writeln!(f, "{}", self.summary)?;
        write!(f, "  keys not certain      {}", self.keys_left)?;
        for violation in &self.violations {
            write!(f, "\n\npromise {}: {}", violation.promise, violation.what)?;
            for line in &violation.history {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}
