//! One call, written down before it is made and after it has ended. Nothing is retried here.

use crate::Failure;
use commentd_checker::{Entry, ItemAnswer};
use commentd_contract::SystemClock;
use commentd_contract::client::{ContractClient, HttpResponse};
use commentd_contract::time::Clock;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use url::Url;

/// Longest that a client waits for a response, in milliseconds.
const TIMEOUT_MS: u64 = 5000;

/// The clients' log. A line is with the operating system before the function that wrote it returns.
#[derive(Debug)]
pub struct ClientLog {
    file: Mutex<File>,
    calls: AtomicU64,
    /// Its wall time is also what the board takes `stored_at_ms` from.
    clock: SystemClock,
}

impl ClientLog {
    /// Opens the log to go on with it; `calls` is how many it has already. What its last writer didn't finish is cut
    /// off, so that the next line stands alone.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn open(path: &Path, calls: u64, clock: SystemClock) -> Result<Self, Failure> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        Ok(Self { file: Mutex::new(file), calls: AtomicU64::new(calls), clock })
    }

    fn write(&self, entry: &Entry) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        Ok(self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?)
    }
}

/// What is asked in one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The key.
    pub key: String,
    /// The target.
    pub target: String,
    /// The comments.
    pub texts: Vec<String>,
}

/// How a call ended, as far as the client is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Every comment's outcome is final.
    Final,
    /// Some comment's isn't, or there was no answer.
    NotYet,
}

/// Asks the sidecar at `address` (`host:port`), and writes down what came of it.
///
/// # Errors
/// When the log can't be written; what the sidecar does is never an error here.
pub async fn ask(log: &ClientLog, address: &str, ask: &Ask, deadline_ms: u64) -> Result<Known, Failure> {
    let call = log.calls.fetch_add(1, Ordering::Relaxed);
    log.write(&Entry::Asked {
        call,
        at_ms: log.clock.unix_ms(),
        key: ask.key.clone(),
        texts: ask.texts.clone(),
    })?;
    let response = post(address, ask, deadline_ms).await;
    let at_ms = log.clock.unix_ms();
    let read = |response: HttpResponse| {
        let status = response.status.as_u16();
        Ok((status, items(status, &response.body, ask.texts.len())?))
    };
    match response.and_then(read) {
        Err(reason) => {
            log.write(&Entry::Unanswered { call, at_ms, reason })?;
            Ok(Known::NotYet)
        }
        Ok((status, items)) => {
            let all = !items.is_empty() && items.iter().all(|item| item.outcome.is_final());
            log.write(&Entry::Answered { call, at_ms, status, items })?;
            Ok(if all { Known::Final } else { Known::NotYet })
        }
    }
}

async fn post(address: &str, ask: &Ask, deadline_ms: u64) -> Result<HttpResponse, String> {
    let content = match ask.texts.as_slice() {
        [text] => ("content", Value::from(text.as_str())),
        texts => ("comments", Value::from(texts)),
    };
    let path = if ask.texts.len() == 1 { "/api/comment" } else { "/api/comment/batch" };
    let body = serde_json::json!({
        "sns_id": ask.target, "deadline_ms": deadline_ms, "idempotency_key": ask.key, "concurrency": 4,
        (content.0): content.1,
    });
    let url = Url::parse(&format!("http://{address}")).map_err(|error| format!("{address}: {error}"))?;
    let client = ContractClient { base_url: &url, timeout_ms: TIMEOUT_MS, authorization: None };
    client.post(path, body.to_string().into_bytes()).await.map_err(|error| error.to_string())
}

/// What the reply says of each comment; nothing where the status says that nothing was done.
fn items(status: u16, body: &[u8], expected: usize) -> Result<Vec<ItemAnswer>, String> {
    if status != 200 {
        return Ok(Vec::new());
    }
    let reply: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let data = reply.get("data").unwrap_or(&Value::Null);
    let of = |fields: &Value, success: &Value, code: &Value, message: &Value| -> Result<ItemAnswer, String> {
        let outcome = fields.get("outcome").cloned().unwrap_or(Value::Null);
        Ok(ItemAnswer {
            outcome: serde_json::from_value(outcome).map_err(|error| format!("no outcome: {error}"))?,
            comment_id: text(fields.get("comment_id")),
            replayed: fields.get("replayed").and_then(Value::as_bool).unwrap_or(false),
            success: success.as_bool().unwrap_or(false),
            error_code: code.as_i64().unwrap_or(-1),
            error_message: text(Some(message)),
        })
    };
    let field = |value: &Value, name: &str| value.get(name).cloned().unwrap_or(Value::Null);
    let items = match data.get("results").and_then(Value::as_array) {
        None => vec![of(
            data,
            &field(&reply, "ok"),
            &field(&reply, "error_code"),
            &field(&reply, "error_message"),
        )?],
        Some(results) => results
            .iter()
            .map(|item| {
                let field = |name| field(item, name);
                of(item, &field("success"), &field("error_code"), &field("error_message"))
            })
            .collect::<Result<_, _>>()?,
    };
    if items.len() == expected {
        Ok(items)
    } else {
        Err(format!("{} results for {expected} comments", items.len()))
    }
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}
