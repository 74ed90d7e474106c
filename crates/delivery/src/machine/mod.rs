//! The delivery machine: (state, event, now) → actions.
//!
//! It owns every decision about one delivery and none of its effects. The caller carries out each
//! [`Action`](crate::step::Action) and reports what came of it as an [`Event`](crate::step::Event). At most one of its
//! wake-ups is outstanding: a later [`Action::Wake`](crate::step::Action::Wake) replaces an earlier one.
//!
//! ```text
//! Start ─▶ (ReadKey) ─▶ (Skip …) ─▶ (Queue) ─▶ RecordIntent ─▶ Send ─▶ AttemptEnded ─▶ RecordSettling ─▶ Settled ─┐
//!                          ▲                        │                                                            │
//!                          │                        └─▶ KeyKnown: replay, look up or try afresh                   │
//!                          └────────────────── Wake (backoff) ◀──────────────────────────────────────────────────┤
//!                                              LookUp ─▶ LookupDone ─▶ (Wake) … ◀────────────────────────────────┤
//!                                              Reply, Finish ◀───────────────────────────────────────────────────┘
//! ```

mod chain;
mod duplicates;
mod key;
mod lookup;
mod reply;
mod settle;
mod state;
mod transitions;

pub use state::Machine;
