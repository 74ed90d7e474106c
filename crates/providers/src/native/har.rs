//! HTTP Archive 1.2, as far as a cassette needs it. Fields of our own start with `_`, as the format asks.

use serde::{Deserialize, Serialize};

/// A file.
#[derive(Debug, Deserialize)]
pub(super) struct Har {
    pub(super) log: HarLog,
}

/// Its one object.
#[derive(Debug, Deserialize)]
pub(super) struct HarLog {
    pub(super) entries: Vec<HarEntry>,
}

/// One exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HarEntry {
    pub(super) started_date_time: String,
    /// In milliseconds.
    pub(super) time: u64,
    pub(super) request: HarRequest,
    pub(super) response: HarResponse,
    #[serde(default)]
    pub(super) cache: HarEmpty,
    #[serde(default)]
    pub(super) timings: HarTimings,
    #[serde(rename = "_commentd")]
    pub(super) ours: HarCommentd,
}

/// What commentd needs to find the exchange again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HarCommentd {
    /// What the exchange was for.
    pub(super) purpose: String,
    /// The request without what differs from run to run.
    #[serde(rename = "like")]
    pub(super) match_key: String,
    /// What stood there instead, so that a replay can put its own in the reply.
    pub(super) delivery_id: String,
    /// The words of the comment that differ from run to run.
    #[serde(rename = "words", default)]
    pub(super) placeholders: Vec<String>,
    /// How it failed after it was handed over; then there is no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct HarEmpty {}

/// HAR wants them; what took how long isn't kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HarTimings {
    send: i64,
    wait: i64,
    receive: i64,
}

impl Default for HarTimings {
    fn default() -> Self {
        Self { send: -1, wait: -1, receive: -1 }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HarRequest {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) http_version: String,
    pub(super) cookies: Vec<HarPair>,
    pub(super) headers: Vec<HarPair>,
    pub(super) query_string: Vec<HarPair>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) post_data: Option<HarPostData>,
    pub(super) headers_size: i64,
    pub(super) body_size: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HarPostData {
    pub(super) mime_type: String,
    pub(super) text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HarResponse {
    /// 0 where there was none.
    pub(super) status: u16,
    pub(super) status_text: String,
    pub(super) http_version: String,
    pub(super) cookies: Vec<HarPair>,
    pub(super) headers: Vec<HarPair>,
    pub(super) content: HarContent,
    #[serde(rename = "redirectURL")]
    pub(super) redirect_url: String,
    pub(super) headers_size: i64,
    pub(super) body_size: i64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HarContent {
    pub(super) size: i64,
    pub(super) mime_type: String,
    #[serde(default)]
    pub(super) text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HarPair {
    pub(super) name: String,
    pub(super) value: String,
}
