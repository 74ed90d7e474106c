//! End to end: the built program over sockets, against the board, against servers that misbehave on purpose, and
//! against real servers. All on loopback and free ports; every process is ended by its id.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, prints to its log, and measures by the clock"
)]

mod bad_input;
mod between;
// Real servers come from Debian's packages, and are ended by their process group.
#[cfg(unix)]
mod cassette;
#[cfg(unix)]
mod chain;
mod client_view;
mod deliveries;
mod gate;
mod keys;
#[cfg(unix)]
mod ledger_file;
mod lookups;
mod official_account;
mod own_channel;
mod own_gateway;
mod post;
mod promise;
#[cfg(unix)]
mod real;
mod service;
mod support;
