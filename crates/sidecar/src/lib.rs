//! Runs the delivery machine: takes requests in, hands comments to providers, answers before the deadline.
//!
//! - [`config`]: the settings as written, and checked
//! - [`dispatch`]: drives one machine a delivery, and keeps the keys in flight apart
//! - [`ids`]: where delivery ids come from
//! - [`http`]: the v1 contract over HTTP
//! - [`server`]: connections, and the drain at the end
//! - [`start`]: puts the parts together

pub mod config;
pub mod dispatch;
pub mod http;
pub mod ids;
pub mod server;
pub mod start;
