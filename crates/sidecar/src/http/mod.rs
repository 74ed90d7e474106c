//! The v1 contract over HTTP, from the top down: `router`, then a handler for each route, then what they share.

mod access;
mod app;
mod body;
mod comments;
mod deliveries;
mod error;
mod health;
mod presence;
mod reply;
mod router;

pub use app::{ApiSettings, HealthFacts};
pub(crate) use presence::{CallerStream, Presence};
pub use router::Api;
