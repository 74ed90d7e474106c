//! What a history is made of: channels, the ledger's rows, and what is still to come.

use super::channel::Channel;
use super::dice::Dice;
use super::promise::{Row, Run};
use super::samples::ms;
use commentd_delivery::follower::Progress;
use commentd_delivery::step::{Ending, Event};
use commentd_delivery::{Fingerprint, Gate, Moment, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// A wrongness planted in the driver, which the promises must reveal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// An unknown verdict is reported as not_sent.
    UnknownIsNotSent,
    /// An unknown verdict is reported as denied.
    UnknownIsDenied,
    /// An attempt that a crash interrupted counts as not_sent.
    InterruptedIsNotSent,
    /// A lookup that failed or was incomplete counts as a complete one that found nothing.
    FailureIsAbsence,
    /// A lookup is said to have begun later than it did.
    EarlyLookup,
    /// A lookup is said to see every state, though it doesn't.
    BlindLookup,
    /// A lookup asks another link's channel.
    LookupElsewhere,
    /// A cancellation is confirmed although the attempt goes on.
    CancelledInName,
    /// A settling is reported as durable without being recorded.
    SettlingSkipped,
    /// An intent is reported as durable without being recorded.
    IntentSkipped,
    /// A settling that the ledger refused is reported as durable.
    FailureIsSettled,
    /// A comment of another delivery may be claimed.
    ClaimIgnored,
    /// A channel is said to deduplicate, though it doesn't.
    NoDeduplication,
    /// What earlier runs did is forgotten.
    EarlierForgotten,
    /// Wake-ups get lost.
    WakeLost,
    /// A hang-up reaches the machine late.
    HangUpUnheard,
}

impl Planted {
    /// Every planted wrongness.
    pub const ALL: [Planted; 16] = [
        Planted::UnknownIsNotSent,
        Planted::UnknownIsDenied,
        Planted::InterruptedIsNotSent,
        Planted::FailureIsAbsence,
        Planted::EarlyLookup,
        Planted::BlindLookup,
        Planted::LookupElsewhere,
        Planted::CancelledInName,
        Planted::SettlingSkipped,
        Planted::IntentSkipped,
        Planted::FailureIsSettled,
        Planted::ClaimIgnored,
        Planted::NoDeduplication,
        Planted::EarlierForgotten,
        Planted::WakeLost,
        Planted::HangUpUnheard,
    ];
}

/// What is still to come in a run.
#[derive(Debug)]
pub(super) enum Coming {
    IntentRecorded { row: Row, claims_key: bool, told: bool, durable: bool },
    Settled(Recording),
    KeyRead,
    OpenClosed,
    GatePassed,
    AttemptEnded(Verdict),
    Tell(Event),
    Reads { channel: usize, began: Moment },
    FollowerArrives { waits: Duration },
    FollowerLeaves,
    PersonResolves,
    Crash,
}

/// The attempt that is on its way.
#[derive(Debug)]
pub(super) struct RunningAttempt {
    pub(super) channel: usize,
    pub(super) gate: Gate,
    /// The machine still waits for its end.
    pub(super) awaited: bool,
}

/// The comment of the history.
pub(super) const COMMENT: Fingerprint = Fingerprint([1; 32]);

/// How the ledger fails in one run.
#[derive(Debug)]
pub(super) struct Trouble {
    /// From when until when it can't record: a full disk.
    pub(super) full: Option<(Moment, Moment)>,
    /// It can't be read.
    pub(super) unreadable: bool,
    /// It doesn't answer for long.
    pub(super) silent: bool,
}

/// What is being recorded.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) attempt: usize,
    pub(super) verdict: Verdict,
    pub(super) resolves: bool,
    pub(super) reply: Event,
    pub(super) durable: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) planted: Option<Planted>,
    pub(super) channels: Vec<Channel>,
    pub(super) rows: Vec<Row>,
    /// What will be stored: when, in which channel, which entry. Outlives runs and crashes.
    pub(super) stores: Vec<(Moment, usize, usize)>,
    pub(super) now: Moment,
    /// The start of the present process, where its monotonic clock begins.
    pub(super) born: Moment,
    pub(super) coming: Vec<(Moment, Coming)>,
    pub(super) wake: Option<Moment>,
    pub(super) running: Option<RunningAttempt>,
    /// The provider whose permit the delivery has.
    pub(super) permit: Option<usize>,
    /// The chain of the present run.
    pub(super) order: Vec<usize>,
    pub(super) run: Run,
    /// How the ledger fails in the present run.
    pub(super) trouble: Trouble,
    /// What those see who follow the present run.
    pub(super) progress: Progress,
    pub(super) ending: Option<Ending>,
    pub(super) traced: bool,
    pub(super) trace: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// How a channel has broken the assumptions of the promise, if one has.
    pub(super) foul: Option<&'static str>,
}

pub(super) type Kept = Result<(), String>;

impl World {
    pub(super) fn new(mut dice: Dice, planted: Option<Planted>, traced: bool) -> Self {
        let channels = (0..=dice.below(4)).map(|_| Channel::random(&mut dice)).collect();
        let start = Moment::at(ms(1_000_000));
        let run = Run::new(start, ms(20));
        Self {
            dice,
            planted,
            channels,
            rows: Vec::new(),
            stores: Vec::new(),
            now: start,
            born: start,
            coming: Vec::new(),
            wake: None,
            running: None,
            permit: None,
            order: Vec::new(),
            run,
            trouble: Trouble { full: None, unreadable: false, silent: false },
            progress: Progress::default(),
            ending: None,
            traced,
            trace: Vec::new(),
            counts: BTreeMap::new(),
            foul: None,
        }
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.traced {
            let line = format!("{:>8} ms  {}", self.now.since(self.born).as_millis(), text());
            self.trace.push(line);
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn plants(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    pub(super) fn effects(&self) -> usize {
        self.channels.iter().map(Channel::effects).sum()
    }

    pub(super) fn local(&self) -> Moment {
        Moment::at(self.now.since(self.born))
    }
}
