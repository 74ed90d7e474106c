//! The board: a small real comment service of our own, with a page and with faults.
//!
//! It is the target of `commentd demo` and the upstream of the end-to-end tests. It speaks three shapes over
//! one store: its native one, the v1 contract (`generic`) and the older gateways' (`wxbot`). A [`FaultPlan`]
//! and a seed decide, per request, how it misbehaves; what it has stored can be read over HTTP and, by an
//! embedder, directly from the [`Board`], so that a test can compare what a client saw with what is true.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use commentd_board::{Board, BoardOptions, Fault, FaultPlan, FaultRule};
//!
//! let faults = FaultPlan::default().with(FaultRule::requests(Fault::CutAfter, [2]));
//! let board = Board::open(BoardOptions { faults, ..BoardOptions::default() })?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! board.serve(listener, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod board;
mod error;
mod fault;
mod journal;
mod page;
mod plan;
mod posts;
mod refusal;
mod response;
mod router;
mod serving;
mod shapes;
mod state;
mod store;

pub use board::{Board, DRAIN_LIMIT_MS, MAX_CONNECTIONS, serve};
pub use error::{BoardError, PlanError};
pub use fault::{Fault, FaultDecision, FaultPlan, FaultRule, FaultTrigger, MAX_PAUSE_MS, decide};
pub use plan::PLAN_HELP;
pub use state::{BoardOptions, Counters, MAX_IN_FLIGHT};
pub use store::StoredComment;
