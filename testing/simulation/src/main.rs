//! `commentd-simulate`: plays histories by seed, and exits 1 if one breaks a promise.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command")]

use clap::{Parser, ValueEnum};
use commentd_delivery::rule_switch::{RuleSwitch, switch_off};
use commentd_simulation::{Tier, run};
use std::ops::Range;
use std::process::ExitCode;

/// Plays deliveries by seed and judges them by what really happened.
#[derive(Parser)]
#[command(name = "commentd-simulate")]
struct Args {
    /// Which code is simulated.
    tier: TierName,
    /// The seeds, as FIRST..END (END isn't played).
    #[arg(long, value_parser = seeds)]
    seeds: Range<u64>,
    /// Switches a rule of the promise off; may be given several times. The histories should then fail.
    #[arg(long, value_name = "RULE")]
    without: Vec<RuleSwitch>,
    /// Prints everything that happens in each history.
    #[arg(long)]
    trace: bool,
    /// Prints the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum TierName {
    /// The pure machine with a modelled ledger, channel and network.
    Machine,
    /// The real dispatcher on a simulated clock, network and disk.
    Dispatcher,
    /// The same in front of a channel that is kept to a pace, and comes back after it was down.
    Paced,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("must be like 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let seeds = number(first)?..number(end)?;
    if seeds.is_empty() { Err("must have a first seed that is under its end".into()) } else { Ok(seeds) }
}

fn main() -> ExitCode {
    let args = Args::parse();
    args.without.iter().copied().for_each(switch_off);
    let tier = match args.tier {
        TierName::Machine => Tier::Machine,
        TierName::Dispatcher => Tier::Dispatcher,
        TierName::Paced => Tier::Paced,
    };
    if args.trace {
        return trace(tier, args.seeds);
    }
    let report = run::many(tier, args.seeds, &args.without);
    if args.json {
        match serde_json::to_string(&report) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("commentd-simulate: the result can't be written: {error}"),
        }
    } else {
        println!(
            "{} histories in {:.1} s ({} a second), {} broke a promise",
            report.histories, report.seconds, report.histories_per_second, report.violations
        );
        for (what, count) in &report.counts {
            println!("  {count:>12} {what}");
        }
    }
    if let (Some(broken), Some(replay)) = (&report.broken, &report.replay) {
        eprintln!("{broken}\nplay it again: {replay}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn trace(tier: Tier, seeds: Range<u64>) -> ExitCode {
    let mut exit = ExitCode::SUCCESS;
    for seed in seeds {
        let story = tier.play(seed, true);
        println!("seed {seed}");
        story.trace.iter().for_each(|line| println!("{line}"));
        match story.broken {
            Some(broken) => {
                println!("BROKEN: {broken}");
                exit = ExitCode::FAILURE;
            }
            None => println!("kept"),
        }
    }
    exit
}
