//! `native_http` against stand-ins on loopback: who we say we are, and how fast we come.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod auth;
mod bodies;
mod cassette;
mod connections;
mod pace;
mod proxy;
mod stand_in;
mod support;
mod tls;
