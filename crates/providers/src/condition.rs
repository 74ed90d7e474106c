//! What is known of a provider: whether it is up, and whether it is able. The two are not the same: a hook whose pipe
//! answers and which has captured nothing yet is up and not able.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is known about one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Nobody has asked yet.
    #[default]
    Unasked,
    /// Yes.
    Yes,
    /// No, for this reason, which is for people and holds no secrets.
    No(String),
}

impl Known {
    /// The answer; `None` if nobody has asked.
    pub fn answer(&self) -> Option<bool> {
        match self {
            Known::Unasked => None,
            Known::Yes => Some(true),
            Known::No(_) => Some(false),
        }
    }

    /// Why not; `None` if it may be so.
    pub fn why_not(&self) -> Option<&str> {
        match self {
            Known::No(reason) => Some(reason),
            Known::Unasked | Known::Yes => None,
        }
    }
}

/// What is known of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it is up: it answered when it was last asked.
    pub health: Known,
    /// Whether it is able to comment. One that isn't is skipped, and asked again from time to time.
    pub capability: Known,
    /// Whether it has shown that it is there and is what it should be: a probe knew it, or it has stored a comment. Stays
    /// `Yes` once it was; [`Known::Yes`] from the first where there is nothing to ask.
    pub identity: Known,
}

impl Condition {
    /// Up and able.
    pub const GOOD: Condition =
        Condition { health: Known::Yes, capability: Known::Yes, identity: Known::Yes };
    /// Of what is asked only when it is needed.
    pub const UNASKED: Condition =
        Condition { health: Known::Unasked, capability: Known::Unasked, ..Self::GOOD };

    /// Whether nothing is known to be wrong that an attempt wouldn't show as well: that something else than the channel
    /// seems to answer is for people.
    pub fn is_good(&self) -> bool {
        self.health.why_not().is_none() && self.capability.why_not().is_none()
    }
}

/// A condition that a provider keeps and whoever asks reads. As long as it is good, neither those who ask nor those who
/// find it good wait for each other.
#[derive(Debug)]
pub(crate) struct Kept {
    condition: Mutex<Condition>,
    /// Whether the condition is [`Condition::GOOD`]; changed with the lock held.
    is_good: AtomicBool,
}

impl Default for Kept {
    fn default() -> Self {
        Self::new(Condition::UNASKED)
    }
}

impl Kept {
    pub(crate) fn new(condition: Condition) -> Self {
        let is_good = AtomicBool::new(condition == Condition::GOOD);
        Self { condition: Mutex::new(condition), is_good }
    }

    fn change(&self, change: impl FnOnce(&mut Condition)) {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut condition);
        self.is_good.store(*condition == Condition::GOOD, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Condition {
        if self.is_good.load(Ordering::Acquire) {
            return Condition::GOOD;
        }
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is what it should be isn't unlearned.
    pub(crate) fn set(&self, condition: Condition) {
        self.change(|kept| {
            let was_known = kept.identity == Known::Yes;
            *kept = condition;
            if was_known {
                kept.identity = Known::Yes;
            }
        });
    }

    /// It is up, and is what it should be.
    pub(crate) fn recognize(&self) {
        if !self.is_good.load(Ordering::Acquire) {
            self.change(|kept| (kept.health, kept.identity) = (Known::Yes, Known::Yes));
        }
    }

    pub(crate) fn set_capability(&self, capability: Known) {
        self.change(|kept| kept.capability = capability);
    }

    pub(crate) fn set_health(&self, health: Known) {
        if health == Known::Yes && self.is_good.load(Ordering::Acquire) {
            return;
        }
        self.change(|kept| kept.health = health);
    }
}
