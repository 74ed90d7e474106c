//! What executes an attempt.
//!
//! [`Provider`] is all that the dispatcher knows. [`mock::Mock`] is the baseline; [`native::NativeHttp`] speaks to
//! an HTTP channel that a manifest describes, [`hook_pipe::HookPipe`] to the hook's pipe, and
//! [`ui_worker::UiWorker`] to a worker process. A provider never decides what follows from its verdict.

pub mod failpoint;
pub mod hook_pipe;
pub mod mock;
pub mod native;
mod provider;
mod rate_limiter;
pub mod status;
pub mod ui_worker;
mod yield_once;

pub use provider::{BoxFuture, Provider, ProviderJob, Rendered};
pub use rate_limiter::Slot;
pub use yield_once::yield_once;
