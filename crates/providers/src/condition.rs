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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Whether it is up: it answered when it was last asked.
    pub health: Known,
    /// Whether it is able to comment. One that isn't is skipped, and asked again from time to time.
    pub capability: Known,
}

impl Condition {
    /// Up and able.
    pub const GOOD: Condition = Condition { health: Known::Yes, capability: Known::Yes };

    /// Whether nothing is known to be wrong.
    pub fn is_good(&self) -> bool {
        self.health.why_not().is_none() && self.capability.why_not().is_none()
    }
}

/// A condition that a provider keeps and whoever asks reads. As long as it is good, neither those who ask nor those who
/// find it good wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    condition: Mutex<Condition>,
    /// Whether the condition is [`Condition::GOOD`]; changed with the lock held.
    is_good: AtomicBool,
}

impl Kept {
    pub(crate) fn new(condition: Condition) -> Self {
        let kept = Self::default();
        kept.set(condition);
        kept
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

    pub(crate) fn set(&self, condition: Condition) {
        self.change(|kept| *kept = condition);
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
