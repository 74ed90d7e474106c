//! `commentd-fuzz`: feeds a target for a while.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command")]

use clap::Parser;
use commentd_fuzz::{Finding, Target, targets};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Findings after which a target has been fed enough.
const MOST_FINDINGS: usize = 10;

/// Feeds targets with mutations of their corpora, and prints a line of JSON for each.
#[derive(Parser)]
#[command(name = "commentd-fuzz")]
struct Args {
    /// The targets; all, if none is named.
    targets: Vec<String>,
    /// How long each is fed.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The number of the first input.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let wanted =
        |target: &&Target| args.targets.is_empty() || args.targets.iter().any(|name| name == target.name);
    if let Some(name) =
        args.targets.iter().find(|name| !targets::ALL.iter().any(|target| target.name == **name))
    {
        let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
        eprintln!("commentd-fuzz: there is no target {name:?}; the targets are {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut exit = ExitCode::SUCCESS;
    for target in targets::ALL.iter().filter(wanted) {
        match feed(target, Duration::from_secs(args.seconds), args.first) {
            Ok(true) => {}
            Ok(false) => exit = ExitCode::FAILURE,
            Err(error) => {
                eprintln!("commentd-fuzz: {}: {error}", target.name);
                return ExitCode::from(2);
            }
        }
    }
    exit
}

/// True if nothing was found.
#[expect(clippy::disallowed_methods, reason = "how long it goes on is up to the clock, what it does isn't")]
fn feed(target: &Target, time: Duration, first: u64) -> std::io::Result<bool> {
    let began = Instant::now();
    let corpus: Vec<Vec<u8>> = target.corpus()?.into_iter().map(|(_, bytes)| bytes).collect();
    let mut findings: Vec<Finding> = corpus.iter().filter_map(|input| target.try_one(input)).collect();
    let mut number = first;
    while began.elapsed() < time && findings.len() < MOST_FINDINGS {
        if let Some(finding) = target.try_one(&target.input(&corpus, number)) {
            eprintln!("{}: input {number}: {}", target.name, finding.what);
            findings.push(finding);
        }
        number += 1;
    }
    let kept = Path::new("target/fuzz-findings");
    for (index, finding) in findings.iter().enumerate() {
        fs::create_dir_all(kept)?;
        let path = kept.join(format!("{}-{index}", target.name));
        fs::write(&path, &finding.input)?;
        eprintln!("{}: kept as {}", finding.what, path.display());
    }
    let line = serde_json::json!({
        "target": target.name,
        "seconds": began.elapsed().as_secs(),
        "executions": number - first + corpus.len() as u64,
        "findings": findings.len(),
    });
    println!("{line}");
    Ok(findings.is_empty())
}
