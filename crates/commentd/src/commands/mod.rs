//! A file or folder for each command, and what they share: `flags`, `client`, `parts`.

pub(crate) mod accept;
pub(crate) mod board;
pub(crate) mod channels;
mod client;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod deliveries;
pub(crate) mod demo;
mod flags;
mod parts;
pub(crate) mod post;
pub(crate) mod serve;
