//! `commentd demo`: a board, a sidecar in front of it, five rounds of ten comments, read back and counted.

use super::accept::BackReader;
use crate::failure::{CommandResult, Failure, no_threads};
use crate::{console, logging, signals};
use comfy_table::{CellAlignment, Table, presets};
use commentd_acceptance::{AcceptArgs, AcceptOptions, Progress, Report, percentile_ms};
use commentd_board::{Board, BoardOptions, FaultPlan};
use commentd_channels::{ReadBack, built_in};
use commentd_contract::ProviderName;
use commentd_contract::SystemClock;
use commentd_contract::report::Round;
use commentd_contract::time::whole_ms;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::record::Destination;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::{DeliveryId, Gate, Verdict};
use commentd_ledger::{Ledger, SqliteLedger, SqliteOptions, Stamp};
use commentd_providers::native::{BaseUrl, NativeHttp};
use commentd_providers::status::ProviderStatus;
use commentd_providers::{BoxFuture, Provider, ProviderJob, Rendered, Slot};
use commentd_sidecar::http::{ApiSettings, HealthFacts};
use commentd_sidecar::start::{OpenLedger, Parts, Sidecar};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What the board takes for a comment.
const LATENCY_MS: u64 = 30;
const JITTER_MS: u64 = 5;
/// How much longer a batch may take than the slowest single call of its round.
const OVER_GOAL_MS: u64 = 15;
/// Longer than any demo.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Show the whole thing: a comment board, a sidecar in front of it, five rounds of ten comments, each there once.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Keep board and sidecar running afterwards, until Ctrl-C
    #[arg(long)]
    stay: bool,
    /// Where the report goes [default: acceptance_reports/…]
    #[arg(long, value_name = "FILE")]
    report_file: Option<PathBuf>,
    /// Print the figures as JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// A provider whose calls are measured.
struct Measured {
    provider: NativeHttp,
    calls_ms: Arc<Mutex<Vec<u64>>>,
}

impl Provider for Measured {
    fn name(&self) -> ProviderName {
        self.provider.name()
    }
    fn destination(&self) -> &Arc<Destination> {
        self.provider.destination()
    }
    fn rules(&self) -> ProviderRules {
        self.provider.rules()
    }
    fn concurrency(&self) -> Option<usize> {
        self.provider.concurrency()
    }
    fn status(&self) -> ProviderStatus {
        self.provider.status()
    }
    fn has_probe(&self) -> bool {
        self.provider.has_probe()
    }
    fn probe(&self) -> BoxFuture<'_, ProviderStatus> {
        self.provider.probe()
    }
    fn marker(&self, id: DeliveryId) -> String {
        self.provider.marker(id)
    }
    fn has_seen_marker(&self) -> bool {
        self.provider.has_seen_marker()
    }
    fn marker_was_seen(&self) {
        self.provider.marker_was_seen();
    }
    fn reserve_slot<'a>(&'a self, job: &'a ProviderJob) -> BoxFuture<'a, Result<Option<Slot>, Box<Verdict>>> {
        self.provider.reserve_slot(job)
    }
    fn attempt<'a>(&'a self, job: &'a ProviderJob, gate: &'a Gate) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let verdict = self.provider.attempt(job, gate).await;
            self.calls_ms.lock().unwrap_or_else(PoisonError::into_inner).push(verdict.latency_ms);
            verdict
        })
    }
    fn lookup<'a>(&'a self, job: &'a ProviderJob, receipt: &'a str) -> BoxFuture<'a, LookupResult> {
        self.provider.lookup(job, receipt)
    }
    fn read_target<'a>(&'a self, job: &'a ProviderJob) -> BoxFuture<'a, Result<ReadBack, String>> {
        self.provider.read_target(job)
    }

    fn settles_within(&self) -> Option<Duration> {
        self.provider.settles_within()
    }

    fn dry_run(&self, job: &ProviderJob) -> Result<Rendered, Box<Verdict>> {
        self.provider.dry_run(job)
    }
}

/// Notes the slowest single call of each round as it ends.
struct Slowest {
    calls_ms: Arc<Mutex<Vec<u64>>>,
    rounds_ms: Mutex<Vec<u64>>,
}

impl Progress for Slowest {
    fn round_started(&self, _round: u32, _rounds: u32) {
        self.calls_ms.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    fn round_finished(&self, _round: &Round) {
        let calls_ms = self.calls_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let slowest_ms = calls_ms.iter().max().copied().unwrap_or(0);
        self.rounds_ms.lock().unwrap_or_else(PoisonError::into_inner).push(slowest_ms);
    }
    fn note(&self, text: &str) {
        console::warn(text);
    }
}

pub(crate) async fn run(args: DemoArgs) -> CommandResult {
    console::never_wait().map_err(|error| no_threads(&error))?;
    logging::start("warn", false);
    let board_listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let board_url = format!("http://{}", board_listener.local_addr()?);
    let faults = FaultPlan { latency_ms: LATENCY_MS, jitter_ms: JITTER_MS, ..FaultPlan::default() };
    let board = Board::open(BoardOptions { faults, ..BoardOptions::default() })?;
    let (stop_board, board_stopped) = oneshot::channel::<()>();
    let serving_board = {
        let board = board.clone();
        tokio::spawn(async move {
            let stopped = async { drop(board_stopped.await) };
            board.serve(board_listener, stopped).await
        })
    };

    let directory = tempfile::tempdir()?;
    let clock = SystemClock::start();
    let calls_ms = Arc::new(Mutex::new(Vec::new()));
    let sidecar = start_sidecar(&board_url, directory.path(), clock, Arc::clone(&calls_ms)).await?;
    let sidecar_url = format!("http://{}", sidecar.address());
    let (stop_sidecar, sidecar_stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(sidecar.run(async { drop(sidecar_stopped.await) }));

    let options = accept_options(&sidecar_url, args.report_file)?;
    let slowest = Slowest { calls_ms, rounds_ms: Mutex::default() };
    if !args.json {
        console::say("commentd demo: five rounds of ten comments, each there once\n");
        console::say(&format!(
            "  board    {board_url}   takes {LATENCY_MS} ms + 0–{JITTER_MS} ms for a comment"
        ));
        console::say(&format!(
            "  sidecar  {sidecar_url}   native_http → board, every comment recorded on disk first\n"
        ));
    }
    let reader = BackReader(Arc::new(channel_to(&board_url, clock)?));
    let ended = commentd_acceptance::run(&options, Some(&reader), &clock, &slowest).await;
    let code = commentd_acceptance::exit_code(&ended);
    let report = ended?;
    let path = commentd_acceptance::write_report(&report, &options)?;
    let slowest_ms = slowest.rounds_ms.into_inner().unwrap_or_else(PoisonError::into_inner);
    let shown = Shown { report: &report, slowest_ms: &slowest_ms, path: &path };
    if args.json {
        console::say_json(&shown.json()?)
    } else {
        console::say(&shown.table())
    }

    if args.stay {
        let stop = signals::stop_requested();
        console::say(&format!("\nboard and sidecar keep running; see {board_url} – Ctrl-C ends them"));
        stop.await;
    }
    drop(stop_sidecar);
    serving.await?;
    drop(stop_board);
    serving_board.await??;
    Ok(code)
}

fn channel_to(board_url: &str, clock: SystemClock) -> Result<NativeHttp, Failure> {
    let manifests = built_in()?;
    let manifest = manifests
        .iter()
        .find(|manifest| manifest.is_called("board"))
        .ok_or_else(|| Failure("the built-in channel board is missing".into()))?;
    let channel = manifest.channel(&BTreeMap::new()).map_err(Failure)?;
    let base = BaseUrl::parse(board_url)?;
    NativeHttp::new(channel, base, Duration::from_millis(1200), Arc::new(clock)).map_err(Failure)
}

async fn start_sidecar(
    board_url: &str,
    directory: &Path,
    clock: SystemClock,
    calls_ms: Arc<Mutex<Vec<u64>>>,
) -> Result<Sidecar, Failure> {
    let provider = Measured { provider: channel_to(board_url, clock)?, calls_ms };
    let ledger =
        Arc::new(SqliteLedger::open(&directory.join("demo.db"), Stamp::Live, &SqliteOptions::default())?);
    let health = HealthFacts {
        mode: ProviderName::NativeHttp,
        provider: ProviderName::NativeHttp,
        chain: vec![ProviderName::NativeHttp],
        upstream_kind: "board".into(),
        upstream_base_url: board_url.to_owned(),
        exchange: "live".into(),
        ledger: ledger.describe(),
        retention_ms: whole_ms(RETENTION),
        version: env!("CARGO_PKG_VERSION"),
    };
    let api = ApiSettings {
        callers: Vec::new(),
        allowed_hosts: Vec::new(),
        default_deadline: Duration::from_millis(1000),
        max_batch_concurrency: 20,
        unknown_is_success: false,
        require_key: false,
        dry_run: false,
        lost_lines: console::lost_lines(),
        health,
    };
    let parts = Parts {
        host: "127.0.0.1".into(),
        port: 0,
        chain: vec![Arc::new(provider)],
        ledger: OpenLedger::File(ledger),
        api,
        max_in_flight: 1024,
        lookups_per_second: 20,
        retention: RETENTION,
        clock,
    };
    Ok(Sidecar::start(parts).await?)
}

fn accept_options(sidecar_url: &str, report_file: Option<PathBuf>) -> Result<AcceptOptions, Failure> {
    let args = AcceptArgs {
        http_base_url: Some(sidecar_url.to_owned()),
        sns_id: Some("demo".into()),
        round_interval_ms: Some("100".into()),
        verify: true,
        report_file,
        ..AcceptArgs::default()
    };
    // The demo needs nothing from outside, so the environment isn't read.
    Ok(args.check(&|_| None)?)
}

struct Shown<'a> {
    report: &'a Report,
    slowest_ms: &'a [u64],
    path: &'a Path,
}

impl Shown<'_> {
    fn rows(&self) -> impl Iterator<Item = (&Round, u64)> {
        self.report.rounds.iter().zip(self.slowest_ms.iter().copied())
    }

    fn over_p95_ms(&self) -> u64 {
        let over: Vec<u64> = self
            .rows()
            .map(|(round, slowest_ms)| round.batch_latency_ms.saturating_sub(slowest_ms))
            .collect();
        percentile_ms(&over, 95)
    }

    fn json(&self) -> Result<String, Failure> {
        let rounds: Vec<serde_json::Value> = self
            .rows()
            .map(|(round, slowest_ms)| {
                serde_json::json!({"round": round.round, "batch_latency_ms": round.batch_latency_ms,
                    "slowest_call_ms": slowest_ms, "succeeded": round.succeeded, "verified_once": round.verified_once})
            })
            .collect();
        let json = serde_json::json!({"rounds": rounds, "over_slowest_p95_ms": self.over_p95_ms(),
            "over_slowest_goal_ms": OVER_GOAL_MS, "latency_p95_ms": self.report.summary.latency_p95_ms,
            "goal_passed": self.report.summary.goal_passed, "report": self.path});
        Ok(serde_json::to_string_pretty(&json)?)
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["round", "delivered", "there once", "batch ms", "slowest call ms", "over it ms"]);
        for (round, slowest_ms) in self.rows() {
            table.add_row([
                round.round.to_string(),
                format!("{} of {}", round.succeeded, round.total),
                format!("{} of {}", round.verified_once.unwrap_or(0), round.total),
                round.batch_latency_ms.to_string(),
                slowest_ms.to_string(),
                round.batch_latency_ms.saturating_sub(slowest_ms).to_string(),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let summary = &self.report.summary;
        let once: u32 = self.report.rounds.iter().filter_map(|round| round.verified_once).sum();
        let all: u32 = self.report.rounds.iter().map(|round| round.total).sum();
        let verdict = if summary.goal_passed { "goal passed" } else { "goal NOT passed" };
        format!(
            "{table}\n\n  {once} of {all} comments are on the board exactly once\n  batch p95 {} ms, {} ms over the \
             slowest single call (goal: at most {OVER_GOAL_MS})\n  {verdict}: strict_success_rounds {} of {}, \
             latency_p95_ms {} < {}\n  report: {}",
            summary.latency_p95_ms,
            self.over_p95_ms(),
            summary.strict_success_rounds,
            summary.configured_rounds,
            summary.latency_p95_ms,
            summary.target_ms,
            self.path.display(),
        )
    }
}
