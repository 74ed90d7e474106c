//! Drives one delivery machine for each delivery in flight.
//!
//! [`Dispatcher::deliver`] is all that the HTTP surface knows. Behind it, a task performs what its machine asks for
//! (`task`), in its caller's own task at first (`run_in_caller`); callers with the same key share it (`in_flight`).

mod admission;
mod chain;
pub mod deliveries;
mod dispatcher;
mod in_flight;
mod ledger_health;
mod lookups;
mod order;
mod pending;
mod recovery;
mod run_in_caller;
mod state;
mod task;

pub use admission::{AdmissionPermit, HeldBytes};
pub use deliveries::delivery_view;
pub use dispatcher::{Bounds, Dispatcher};
pub use order::Order;
