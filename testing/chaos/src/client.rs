//! One call, written down before it is made and after it has ended. Nothing is retried here.

use crate::error::ChaosError;
use commentd_checker::log::CallLog;
use commentd_checker::{CallEvent, ItemReply};
use commentd_contract::SystemClock;
use commentd_contract::client::{ContractClient, HttpResponse};
use commentd_contract::time::Clock;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
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
    /// Reads the log of a run; empty where there is none.
    ///
    /// # Errors
    /// When it can't be read, or contradicts itself.
    pub fn read(path: &Path) -> Result<CallLog, ChaosError> {
        match File::open(path) {
            Ok(file) => Ok(CallLog::read(BufReader::new(file))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(CallLog::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the log to go on with it; `calls` is how many it has already. What its last writer didn't finish is cut
    /// off, so that the next line stands alone.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn open(path: &Path, calls: u64, clock: SystemClock) -> Result<Self, ChaosError> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        Ok(Self { file: Mutex::new(file), calls: AtomicU64::new(calls), clock })
    }

    fn write(&self, event: &CallEvent) -> Result<(), ChaosError> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        Ok(self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?)
    }
}

/// What is asked in one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The key.
    pub key: String,
    /// The target.
    pub target: String,
    /// The comments.
    pub texts: Vec<String>,
}

/// How a call ended, as far as the client is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// Every comment's outcome is final.
    Final,
    /// Some comment's isn't, or there was no answer.
    NotYet,
}

/// Asks the sidecar at `address` (`host:port`), and writes down what came of it.
///
/// # Errors
/// When the log can't be written; what the sidecar does is never an error here.
pub async fn call(
    log: &ClientLog,
    address: &str,
    request: &KeyedRequest,
    deadline_ms: u64,
) -> Result<CallResult, ChaosError> {
    let number = log.calls.fetch_add(1, Ordering::Relaxed);
    log.write(&CallEvent::Asked {
        call: number,
        at_ms: log.clock.unix_ms(),
        key: request.key.clone(),
        texts: request.texts.clone(),
    })?;
    let response = post(address, request, deadline_ms).await;
    let at_ms = log.clock.unix_ms();
    let read = |response: HttpResponse| {
        let status = response.status.as_u16();
        Ok((status, items(status, &response.body, request.texts.len())?))
    };
    match response.and_then(read) {
        Err(reason) => {
            log.write(&CallEvent::Unanswered { call: number, at_ms, reason })?;
            Ok(CallResult::NotYet)
        }
        Ok((status, items)) => {
            let all = !items.is_empty() && items.iter().all(|item| item.outcome.is_final());
            log.write(&CallEvent::Answered { call: number, at_ms, status, items })?;
            Ok(if all { CallResult::Final } else { CallResult::NotYet })
        }
    }
}

async fn post(address: &str, request: &KeyedRequest, deadline_ms: u64) -> Result<HttpResponse, String> {
    let content = match request.texts.as_slice() {
        [text] => ("content", Value::from(text.as_str())),
        texts => ("comments", Value::from(texts)),
    };
    let path = if request.texts.len() == 1 { "/api/comment" } else { "/api/comment/batch" };
    let body = serde_json::json!({
        "sns_id": request.target, "deadline_ms": deadline_ms, "idempotency_key": request.key, "concurrency": 4,
        (content.0): content.1,
    });
    let url = Url::parse(&format!("http://{address}")).map_err(|error| format!("{address}: {error}"))?;
    let client = ContractClient { base_url: &url, timeout_ms: TIMEOUT_MS, authorization: None };
    client.post(path, body.to_string().into_bytes()).await.map_err(|error| error.to_string())
}

/// What the reply says of each comment; nothing where the status says that nothing was done.
fn items(status: u16, body: &[u8], expected: usize) -> Result<Vec<ItemReply>, String> {
    if status != 200 {
        return Ok(Vec::new());
    }
    let reply: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let data = reply.get("data").unwrap_or(&Value::Null);
    let of = |fields: &Value, success: &Value, code: &Value, message: &Value| -> Result<ItemReply, String> {
        let outcome = fields.get("outcome").cloned().unwrap_or(Value::Null);
        Ok(ItemReply {
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
