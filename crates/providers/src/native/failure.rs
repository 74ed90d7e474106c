//! How an exchange with the channel fails.

/// Where a failed exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The comment was not handed over.
    BeforeGate,
    /// It was, and the protocol's implementation handed it back unsent.
    HandedBack,
    /// It was; what became of it isn't known.
    AfterGate,
    /// It was not, because this process or this machine has run out of something: nobody's failure but ours.
    OwnShortage,
    /// It was not: a replay has no such exchange, however often it is asked.
    OffCassette,
}

/// A failed exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExchangeError {
    pub(super) side: Side,
    pub(super) message: String,
}

impl ExchangeError {
    pub(super) fn before_gate(message: &str) -> Self {
        Self { side: Side::BeforeGate, message: message.to_owned() }
    }
}
