//! The `commentd` program. Everything it does is callable from here.

pub mod cli;
mod commands;
mod console;
mod failure;
mod logging;
mod runtime;
mod signals;

pub use failure::COULD_NOT_RUN;
