//! The report as a file and as a text for people.

use crate::error::AcceptError;
use crate::options::AcceptOptions;
use comfy_table::{Table, presets};
use commentd_contract::report::{Report, Round};
use commentd_contract::terminal;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Most failed items that the summary shows; the report has all.
const SHOWN_FAILURES: usize = 5;

/// Where the report goes: the named file, else `acceptance_reports/accept-<UTC time>-<run>.json` below the
/// working directory.
pub fn report_path(report: &Report, options: &AcceptOptions) -> PathBuf {
    if let Some(path) = &options.report_file {
        return path.clone();
    }
    // 2026-11-24T03:40:00.123Z → 20261124T034000Z
    let time: String =
        report.started_at.chars().take_while(|c| *c != '.').filter(char::is_ascii_alphanumeric).collect();
    let run = report.args.get("run").and_then(Value::as_str).unwrap_or("run");
    Path::new("acceptance_reports").join(format!("accept-{time}Z-{run}.json"))
}

/// Writes the report as indented JSON to [`report_path`], making its directories, and returns that path.
///
/// A reader sees the old file or the whole new one, never a part. Blocking.
///
/// # Errors
/// [`AcceptError::Report`] with the path.
pub fn write_report(report: &Report, options: &AcceptOptions) -> Result<PathBuf, AcceptError> {
    let path = report_path(report, options);
    match write_whole(report, &path) {
        Ok(()) => Ok(path),
        Err(error) => Err(AcceptError::Report { path, message: error.to_string() }),
    }
}

fn write_whole(report: &Report, path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    // A temporary file is its owner's alone, and stays so under its name: a report holds what was said.
    let mut file = tempfile::Builder::new().prefix(".accept-").suffix(".tmp").tempfile_in(directory)?;
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    file.write_all(&json)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// The report for people: a table of the rounds, some failures, and the figures that are judged. Ends with a
/// line break; has no colours and no control characters but line breaks.
pub fn render_summary(report: &Report) -> String {
    let mut text = format!("{}\n", rounds_table(report));
    let failures =
        report.rounds.iter().flat_map(|round| round.failed_items.iter().map(move |item| (round.round, item)));
    for (round, item) in failures.clone().take(SHOWN_FAILURES) {
        let message = terminal::one_line(&item.error_message);
        let code = item.error_code;
        let _ = writeln!(
            text,
            "round {round}, comment {}: {} {}: {message}",
            item.index,
            code.number(),
            code.name()
        );
    }
    let carried =
        report.rounds.iter().flat_map(|round| round.fallback_items.iter().map(move |item| (round, item)));
    for (round, item) in carried.clone().take(SHOWN_FAILURES) {
        let message = terminal::one_line(&item.error_message);
        let _ = writeln!(
            text,
            "round {}, comment {}: carried by {} after {} {}: {} {message}",
            round.round,
            item.index,
            terminal::one_line(&item.provider),
            terminal::one_line(&round.provider),
            item.error_code.number(),
            item.error_code.name()
        );
    }
    let more =
        carried.count().saturating_sub(SHOWN_FAILURES) + failures.count().saturating_sub(SHOWN_FAILURES);
    if more > 0 {
        let _ = writeln!(text, "… and {more} more; the report has them all");
    }
    let summary = &report.summary;
    let strict = format!("{} of {} rounds", summary.strict_success_rounds, summary.configured_rounds);
    let p95 = format!("{}, must be under {}", summary.latency_p95_ms, summary.target_ms);
    for (name, figure, met) in [
        ("strict_success_rounds", strict, summary.strict_success_rounds == summary.configured_rounds),
        ("latency_p95_ms", p95, summary.latency_p95_ms < summary.target_ms),
        ("goal_passed", summary.goal_passed.to_string(), summary.goal_passed),
    ] {
        let _ = writeln!(text, "{name:<22} {figure:<28} {}", if met { "ok" } else { "NOT MET" });
    }
    text
}

fn rounds_table(report: &Report) -> Table {
    let verified = report.rounds.iter().any(|round| round.verified_once.is_some());
    let mut header = vec!["round", "elapsed ms", "batch ms", "succeeded", "fallback"];
    if verified {
        header.extend(["found once", "missing", "duplicate"]);
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED).set_header(header);
    for round in &report.rounds {
        table.add_row(row(round, verified));
    }
    table
}

fn row(round: &Round, verified: bool) -> Vec<String> {
    let count = |count: Option<u32>| count.map_or("-".to_owned(), |count| count.to_string());
    let mut row = vec![
        round.round.to_string(),
        round.elapsed_ms.to_string(),
        round.batch_latency_ms.to_string(),
        format!("{}/{}", round.succeeded, round.total),
        round.fallback_count.to_string(),
    ];
    if verified {
        row.extend([round.verified_once, round.verified_missing, round.verified_duplicate].map(count));
    }
    row
}
