//! The three shapes in which a comment arrives and is answered.

mod any;
mod generic;
mod native;
mod post;
mod wxbot;

pub(crate) use post::{ParsedPost, WireShape};
