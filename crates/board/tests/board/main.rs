//! The board over real loopback sockets: what a client sees against what is stored.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail a test by panicking"
)]

mod faults;
mod honest;
mod support;
