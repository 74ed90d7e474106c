//! What is known of a provider: whether it is up, and whether it is able. The two are not the same: a hook whose pipe
//! answers and which has captured nothing yet is up and not able.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is known about one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProbeState {
    /// Nobody has asked yet.
    #[default]
    Unasked,
    /// Yes.
    Yes,
    /// No, for this reason, which is for people and holds no secrets.
    No(String),
}

impl ProbeState {
    /// The answer; `None` if nobody has asked.
    pub fn answer(&self) -> Option<bool> {
        match self {
            ProbeState::Unasked => None,
            ProbeState::Yes => Some(true),
            ProbeState::No(_) => Some(false),
        }
    }

    /// Why not; `None` if it may be so.
    pub fn why_not(&self) -> Option<&str> {
        match self {
            ProbeState::No(reason) => Some(reason),
            ProbeState::Unasked | ProbeState::Yes => None,
        }
    }
}

/// What is known of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderStatus {
    /// Whether it is up: it answered when it was last asked.
    pub health: ProbeState,
    /// Whether it is able to comment. One that isn't is skipped, and asked again from time to time.
    pub capability: ProbeState,
    /// Whether it has shown that it is there and is what it should be: a probe knew it, or it has stored a comment. Stays
    /// `Yes` once it was; [`ProbeState::Yes`] from the first where there is nothing to ask.
    pub identity: ProbeState,
}

impl ProviderStatus {
    /// Up and able.
    pub const GOOD: ProviderStatus =
        ProviderStatus { health: ProbeState::Yes, capability: ProbeState::Yes, identity: ProbeState::Yes };
    /// Of what is asked only when it is needed.
    pub const UNASKED: ProviderStatus =
        ProviderStatus { health: ProbeState::Unasked, capability: ProbeState::Unasked, ..Self::GOOD };

    /// Whether nothing is known to be wrong that an attempt wouldn't show as well: that something else than the channel
    /// seems to answer is for people.
    pub fn is_good(&self) -> bool {
        self.health.why_not().is_none() && self.capability.why_not().is_none()
    }
}

/// A status that a provider keeps and whoever asks reads. As long as it is good, neither those who ask nor those who
/// find it good wait for each other.
#[derive(Debug)]
pub(crate) struct SharedStatus {
    status: Mutex<ProviderStatus>,
    /// Whether the status is [`ProviderStatus::GOOD`]; changed with the lock held.
    is_good: AtomicBool,
}

impl Default for SharedStatus {
    fn default() -> Self {
        Self::new(ProviderStatus::UNASKED)
    }
}

impl SharedStatus {
    pub(crate) fn new(status: ProviderStatus) -> Self {
        let is_good = AtomicBool::new(status == ProviderStatus::GOOD);
        Self { status: Mutex::new(status), is_good }
    }

    fn change(&self, change: impl FnOnce(&mut ProviderStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        self.is_good.store(*status == ProviderStatus::GOOD, Ordering::Release);
    }

    pub(crate) fn get(&self) -> ProviderStatus {
        if self.is_good.load(Ordering::Acquire) {
            return ProviderStatus::GOOD;
        }
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is what it should be isn't unlearned.
    pub(crate) fn set(&self, status: ProviderStatus) {
        self.change(|kept| {
            let was_known = kept.identity == ProbeState::Yes;
            *kept = status;
            if was_known {
                kept.identity = ProbeState::Yes;
            }
        });
    }

    /// It is up, and is what it should be.
    pub(crate) fn recognize(&self) {
        if !self.is_good.load(Ordering::Acquire) {
            self.change(|kept| (kept.health, kept.identity) = (ProbeState::Yes, ProbeState::Yes));
        }
    }

    pub(crate) fn set_capability(&self, capability: ProbeState) {
        self.change(|kept| kept.capability = capability);
    }

    pub(crate) fn set_health(&self, health: ProbeState) {
        if health == ProbeState::Yes && self.is_good.load(Ordering::Acquire) {
            return;
        }
        self.change(|kept| kept.health = health);
    }
}
