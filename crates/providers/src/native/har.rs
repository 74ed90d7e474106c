//! HTTP Archive 1.2, as far as a cassette needs it. Fields of our own start with `_`, as the format asks.

use serde::{Deserialize, Serialize};

/// A file.
#[derive(Debug, Deserialize)]
pub(super) struct Archive {
    pub(super) log: Log,
}

/// Its one object.
#[derive(Debug, Deserialize)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
}

/// One exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) started_date_time: String,
    /// In milliseconds.
    pub(super) time: u64,
    pub(super) request: Request,
    pub(super) response: Response,
    #[serde(default)]
    pub(super) cache: Nothing,
    #[serde(default)]
    pub(super) timings: Timings,
    #[serde(rename = "_commentd")]
    pub(super) ours: Ours,
}

/// What commentd needs to find the exchange again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ours {
    /// What the exchange was for.
    pub(super) purpose: String,
    /// The request without what differs from run to run.
    pub(super) like: String,
    /// What stood there instead, so that a replay can put its own in the reply.
    pub(super) delivery_id: String,
    #[serde(default)]
    pub(super) words: Vec<String>,
    /// How it failed after it was handed over; then there is no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Nothing {}

/// HAR wants them; what took how long isn't kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Timings {
    send: i64,
    wait: i64,
    receive: i64,
}

impl Default for Timings {
    fn default() -> Self {
        Self { send: -1, wait: -1, receive: -1 }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) http_version: String,
    pub(super) cookies: Vec<Pair>,
    pub(super) headers: Vec<Pair>,
    pub(super) query_string: Vec<Pair>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) post_data: Option<PostData>,
    pub(super) headers_size: i64,
    pub(super) body_size: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostData {
    pub(super) mime_type: String,
    pub(super) text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response {
    /// 0 where there was none.
    pub(super) status: u16,
    pub(super) status_text: String,
    pub(super) http_version: String,
    pub(super) cookies: Vec<Pair>,
    pub(super) headers: Vec<Pair>,
    pub(super) content: Content,
    #[serde(rename = "redirectURL")]
    pub(super) redirect_url: String,
    pub(super) headers_size: i64,
    pub(super) body_size: i64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    pub(super) size: i64,
    pub(super) mime_type: String,
    #[serde(default)]
    pub(super) text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: String,
}
