//! What a run is to do.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which channel stands behind the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelKind {
    /// commentd's own board, with faults.
    Board,
    /// A real Isso.
    Isso,
}

impl ChannelKind {
    /// Its name as a channel.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChannelKind::Board => "board",
            ChannelKind::Isso => "isso",
        }
    }
}

/// How the sidecar's ledger is to fail while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerFault {
    /// It is full after a while, until the restart.
    Full,
    /// It can't be written to any more after a while, until the restart.
    ReadOnly,
    /// The one and the other in turn.
    Both,
}

/// Kill the sidecar again and again while clients use it, then judge what they saw against what the channel has
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "commentd-chaos", version, max_term_width = 110)]
pub struct ChaosOptions {
    /// The channel behind the sidecar
    #[arg(long, value_enum, default_value = "board")]
    pub channel: ChannelKind,
    /// Lives of the sidecar, each ended by kill -9
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub cycles: u64,
    /// New keys in each life, at least 1
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Decides what is asked, when the sidecar dies, and which faults the board makes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Directory of the run; a second run on it goes on
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The program to kill [default: commentd-with-failpoints beside this one]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Isso's program
    #[arg(long, value_name = "FILE", default_value = ".work/venv/bin/isso")]
    pub isso: PathBuf,
    /// Fail the ledger, too, in every other life
    #[arg(long, value_enum)]
    pub ledger_fault: Option<LedgerFault>,
    /// Switch off this rule of the sidecar; the run should then find violations
    #[arg(long, value_name = "RULE")]
    pub without: Option<String>,
    /// Clients at a time
    #[arg(long, default_value_t = 24, value_name = "N")]
    pub clients: usize,
    /// The longest that the channel may still store a request that was cut off, in seconds, as the sidecar is told
    #[arg(long, default_value_t = 2, value_name = "S")]
    pub settles_within_s: u64,
    /// How long nothing may become certain before what is left counts as settled, in seconds
    #[arg(long, default_value_t = 30, value_name = "S")]
    pub settle_patience_s: u64,
    /// Where the result goes as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
