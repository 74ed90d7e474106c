//! One room for each command.

pub(crate) mod accept;
pub(crate) mod board;
pub(crate) mod channels;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod deliveries;
pub(crate) mod demo;
mod holder;
pub(crate) mod post;
pub(crate) mod serve;
