//! The run: the sidecar's health, the rounds, the recount.

use crate::comments::{self, RunId};
use crate::error::AcceptError;
use crate::options::AcceptOptions;
use crate::report;
use crate::round;
use crate::verify::{self, TargetReader};
use commentd_contract::ProviderName;
use commentd_contract::client::ContractClient;
use commentd_contract::report::{Report, Round};
use commentd_contract::time::{Clock, whole_ms};
use serde_json::Value;
use std::time::Duration;

/// Hears how a run goes, for progress bars and logs. Every method does nothing unless overridden; none may
/// block, the run waits for it.
pub trait Progress: Send + Sync {
    /// A round (from 1) of `rounds` begins.
    fn round_started(&self, round: u32, rounds: u32) {
        let _ = (round, rounds);
    }
    /// A round is judged and, with `--verify`, counted.
    fn round_finished(&self, round: &Round) {
        let _ = round;
    }
    /// Something that a person should know and that no field of the report holds.
    fn note(&self, text: &str) {
        let _ = text;
    }
}

/// Progress that nobody hears.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}

/// Runs the rounds against a running sidecar and judges them.
///
/// Every round is sent once, under a key of its own that no other run has. A round that fails — the sidecar
/// refuses it, gives no answer in time, or an answer that can't be read — is in the report, with every item
/// failed; the run goes on unless `fail_fast`. With `verify`, `reader` reads the target after each round
/// until nothing is missing, five times within about a second at most, and all rounds are counted once more
/// at the end: a comment that turned up twice or vanished meanwhile is found there. Where no read succeeds,
/// everything counts as missing and [`Progress::note`] says why. Without `verify`, `reader` is not used.
///
/// Must run within a tokio runtime with time and I/O. Dropping the future closes the connection of the round
/// under way; the sidecar finishes what it has begun, and no report is made.
///
/// # Errors
/// [`AcceptError::Sidecar`] if `/health` gives no usable answer, [`AcceptError::ProviderMismatch`],
/// [`AcceptError::NoReader`] and [`AcceptError::Random`]; nothing has been sent then.
pub async fn run(
    options: &AcceptOptions,
    reader: Option<&dyn TargetReader>,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<Report, AcceptError> {
    let reader = match (options.verify, reader) {
        (true, None) => return Err(AcceptError::NoReader),
        (true, reader) => reader,
        (false, _) => None,
    };
    let run = RunId::random()?;
    let started = clock.unix_ms();
    let sidecar_health = health(options).await?;
    let named = sidecar_health.get("provider").and_then(Value::as_str).unwrap_or_default().trim();
    let known = ProviderName::parse(named);
    if options.require_provider_match && !named.is_empty() && known != Some(options.provider) {
        let found = round::word(named);
        return Err(AcceptError::ProviderMismatch { expected: options.provider, found });
    }
    let sidecar = &round::word(named);
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        progress.round_started(number, options.rounds);
        let comments = comments::of_round(options, &run, number);
        let begun = clock.now();
        let batch = round::send(options, &run.key(number), &comments).await;
        let elapsed_ms = whole_ms(clock.now() - begun);
        let mut round = round::judge(options, number, elapsed_ms, batch, sidecar);
        if let Some(reader) = reader {
            let (tally, error) = verify::settle(reader, &options.addressing.sns_id, &comments).await;
            if let Some(error) = error {
                progress.note(&format!("round {number} could not be verified: {error}"));
            }
            round::set_verified(&mut round, tally);
        }
        progress.round_finished(&round);
        let stop = options.fail_fast && !round.strict_success;
        rounds.push(round);
        if stop {
            progress.note(&format!("stopped after round {number}, in which something failed (--fail-fast)"));
            break;
        }
        if number < options.rounds {
            tokio::time::sleep(Duration::from_millis(options.round_interval_ms)).await;
        }
    }
    if let Some(reader) = reader {
        recount(options, &run, reader, &mut rounds, progress).await;
    }
    Ok(report::assemble(options, &run, (started, clock.unix_ms()), rounds, sidecar_health))
}

/// Counts all rounds once more. Only a worse count replaces a round's own: a comment that was missing in time
/// stays missing.
async fn recount(
    options: &AcceptOptions,
    run: &RunId,
    reader: &dyn TargetReader,
    rounds: &mut [Round],
    progress: &dyn Progress,
) {
    let shown = match verify::read(reader, &options.addressing.sns_id).await {
        Ok(shown) => shown,
        Err(error) => {
            progress.note(&format!("the rounds could not be counted again at the end: {error}"));
            return;
        }
    };
    for round in rounds {
        let tally = shown.tally(&comments::of_round(options, run, round.round));
        if round.verified_once.is_some_and(|once| tally.once < once) {
            progress.note(&format!(
                "round {}: counted again at the end, {} are there once, {} missing, {} duplicate",
                round.round, tally.once, tally.missing, tally.duplicate
            ));
            round::set_verified(round, tally);
        }
    }
}

/// `data` of the sidecar's `/health`, asked without credentials.
///
/// # Errors
/// [`AcceptError::Sidecar`] if there is no usable answer.
pub async fn health(options: &AcceptOptions) -> Result<Value, AcceptError> {
    let failed = |message: String| AcceptError::Sidecar { url: options.base_url_shown.clone(), message };
    let client =
        ContractClient { base_url: &options.base_url, timeout_ms: options.timeout_ms, authorization: None };
    let response = client.get("/health").await.map_err(|error| failed(error.to_string()))?;
    if !response.status.is_success() {
        return Err(failed(format!("it answers HTTP {}", response.status.as_u16())));
    }
    let reply: Value =
        serde_json::from_slice(&response.body).map_err(|error| failed(format!("it is no JSON: {error}")))?;
    match (reply.get("v").and_then(Value::as_u64), reply.get("data")) {
        (Some(1), Some(data @ Value::Object(_))) => Ok(data.clone()),
        _ => Err(failed("it is no v1 reply (v must be 1, data an object)".into())),
    }
}
