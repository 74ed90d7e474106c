//! Deterministic simulation of deliveries. One seed is one history, and a history that breaks a promise is played
//! again, word for word, by its seed.
//!
//! - [`machine`]: the pure machine with a modelled ledger, channel and network; millions of histories
//! - [`dispatcher`]: the dispatcher's real code on a simulated clock, network and disk; thousands
//! - [`run`]: many seeds, and what they came to
//!
//! Nothing in here asks the system for time or randomness; only [`run`] measures how fast it was.

pub mod dispatcher;
pub mod machine;
pub mod run;

use std::collections::BTreeMap;

/// What a history came to.
#[derive(Debug, Default)]
pub struct Story {
    /// The first promise that was broken, with what a person needs to understand it.
    pub broken: Option<String>,
    /// What happened, a line each, if it was asked for.
    pub trace: Vec<String>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Which code is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The pure machine.
    Machine,
    /// The dispatcher, the provider and the HTTP client.
    Dispatcher,
    /// The same in front of a channel that is kept to a pace, and comes back after it was down.
    Paced,
}

impl Tier {
    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Tier::Machine => "machine",
            Tier::Dispatcher => "dispatcher",
            Tier::Paced => "paced",
        }
    }

    /// Plays the history of this seed.
    pub fn play(self, seed: u64, traced: bool) -> Story {
        match self {
            Tier::Machine => {
                let played = machine::history::play(machine::dice::Dice::seeded(seed), None, traced);
                Story { broken: played.broken, trace: played.trace, counts: played.counts }
            }
            Tier::Dispatcher => dispatcher::play(seed, traced),
            Tier::Paced => dispatcher::paced::play(seed, traced),
        }
    }
}
