//! By which headers a channel may know a comment's delivery and trace.

use crate::provider::ProviderJob;
use http::header::{HeaderName, HeaderValue};
use std::fmt::Write;

/// The length of a `traceparent` of version 00.
const TRACEPARENT_LEN: usize = 55;

/// The headers by which the channel may know delivery and trace: `Idempotency-Key` as a quoted string
/// (RFC 9651), and `traceparent` (W3C Trace Context) where the trace id has its form.
pub(super) fn identity(job: &ProviderJob) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(2);
    let mut add = |name: &'static str, value: String| {
        // These have nothing but digits, dashes and quotes.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.push((HeaderName::from_static(name), value));
        }
    };
    add("idempotency-key", ["\"", job.id.digits().as_str(), "\""].concat());
    let is_trace = job.trace_id.len() == 32 && job.trace_id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_trace {
        let parent = job.id.seed() ^ u64::from(job.attempt);
        // Of just its length: a text with room to spare is put into a block of its own once more.
        let mut traceparent = String::with_capacity(TRACEPARENT_LEN);
        // Writing into a string never fails.
        let _ = write!(traceparent, "00-{}-{parent:016x}-01", job.trace_id);
        add("traceparent", traceparent);
    }
    headers
}
