//! What a request asks of the dispatcher, one for each comment.

use super::admission::AdmissionPermit;
use commentd_delivery::record::KeyRef;
use commentd_delivery::{Comment, Moment};
use std::sync::Arc;

/// One comment to be delivered.
#[derive(Debug)]
pub struct Order {
    /// The caller's name for it.
    pub key: KeyRef,
    /// Whether the server made the key, so that nothing can be recorded under it yet.
    pub key_is_made: bool,
    /// The comment.
    pub comment: Comment,
    /// How many comments the request has; 1 for a single one.
    pub batch_len: usize,
    /// The request's trace.
    pub trace_id: Arc<str>,
    /// When the caller gets an answer.
    pub deadline: Moment,
    /// Its place among those in flight; given back when it is only looked up, or over.
    pub permit: AdmissionPermit,
}
