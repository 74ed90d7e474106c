//! How connections are made: over TCP, or by whatever a simulation hands in.

mod race;
mod stream;
mod tcp;

pub(crate) use stream::is_own_shortage;
pub use stream::{Dial, Stream, Unread};
pub use tcp::Tcp;
