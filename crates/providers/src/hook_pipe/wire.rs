//! What goes over the hook's pipe: JSON in frames, and what it means.

use super::options::HookOptions;
use bytes::Bytes;
use commentd_contract::{Code, VerdictKind};
use commentd_delivery::Verdict;
use commentd_delivery::verdict::of_code;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest request, in bytes; the hook reads no longer one.
pub(super) const MAX_REQUEST_BYTES: usize = 65_536;
/// Longest reply, in bytes.
pub(super) const MAX_REPLY_BYTES: usize = 1 << 20;

/// See the file.
const SAFE_MESSAGES: &str = include_str!("safe_messages.txt");

/// A request without effect at the hook.
#[derive(Serialize)]
pub(super) struct HookQuery<'a> {
    v: u8,
    cmd: &'static str,
    task_id: &'a str,
    #[serde(flatten)]
    arguments: Value,
}

impl<'a> HookQuery<'a> {
    pub(super) fn status(task_id: &'a str) -> Self {
        Self { v: 1, cmd: "status", task_id, arguments: json!({}) }
    }

    pub(super) fn query_sns_id(task_id: &'a str, author: &str, content_hash: &str) -> Self {
        let arguments = json!({ "author": author, "content_hash": content_hash });
        Self { v: 1, cmd: "query_sns_id", task_id, arguments }
    }

    pub(super) fn latest_sns_id(task_id: &'a str) -> Self {
        Self { v: 1, cmd: "get_latest_sns_id", task_id, arguments: json!({}) }
    }

    pub(super) fn frame(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The request that comments. Neither the queue nor the parallel, batch and piggyback ways of the hook are used:
/// above one lane they crash its host.
pub(super) fn comment(
    options: &HookOptions,
    execution_mode: &str,
    task_id: &str,
    sns_id: &str,
    content: &str,
    reply_to: &str,
) -> Value {
    json!({
        "v": 1,
        "cmd": "comment",
        "task_id": task_id,
        "sns_id": sns_id,
        "content": content,
        "reply_to": reply_to,
        "allow_queue_fallback": false,
        "prefer_arg1_template": true,
        "execution_mode": execution_mode,
        "wait_timeout_ms": options.wait_timeout_ms,
        "arg1_mode": options.arg1_mode,
        "tls_copy": options.tls_copy,
    })
}

/// A reply of the hook.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct HookReply {
    #[serde(default)]
    task_id: Value,
    pub(super) ok: bool,
    #[serde(default)]
    error_code: i64,
    #[serde(default)]
    error_message: String,
    #[serde(default)]
    data: Value,
}

impl HookReply {
    /// # Errors
    /// When a frame isn't a reply that can be read in one way.
    pub(super) fn read(frame: &[u8]) -> Result<Self, String> {
        commentd_channels::json::read_as(frame)
    }

    pub(super) fn answers(&self, task_id: &str) -> bool {
        self.task_id.as_str() == Some(task_id)
    }

    /// The target that a query names; empty if it names none.
    pub(super) fn sns_id(&self) -> String {
        match self.data.get("sns_id") {
            Some(Value::String(text)) => text.clone(),
            // Whole, as it stands: such ids need all of their 64 bits.
            Some(Value::Number(number)) if number.is_u64() => number.to_string(),
            _ => String::new(),
        }
    }

    /// How long ago the hook saw the client comment, by its `status`, in ms.
    pub(super) fn capture_age_ms(&self) -> Option<u64> {
        self.data.get("capture_age_ms").and_then(Value::as_u64)
    }

    /// Why the hook can't comment, by its `status`; `None` if it can. `context_fresh` holds for two seconds only, so
    /// it isn't asked.
    pub(super) fn why_not_able(&self) -> Option<(Code, String)> {
        if !self.ok {
            let code = self.code().filter(|code| of_code(*code) == VerdictKind::Denied);
            return Some((
                code.unwrap_or(Code::ProviderUnavailable),
                format!("its status says code {}: {}", self.error_code, self.error_message),
            ));
        }
        let says_no = |name: &str| self.data.get(name).and_then(Value::as_bool) != Some(true);
        if says_no("hook_installed") {
            return Some((Code::HookNotInstalled, "hook_installed is false: the hook isn't in place".into()));
        }
        if says_no("state_captured") {
            let reason =
                "state_captured is false: comment once by hand in the client, so that the hook sees how";
            return Some((Code::ProviderUnavailable, reason.into()));
        }
        None
    }

    fn code(&self) -> Option<Code> {
        Code::from_number(self.error_code)
    }

    fn is_safe(&self) -> bool {
        let said = self.error_message.trim().to_lowercase();
        let lines = SAFE_MESSAGES.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).any(|line| line == said)
    }

    /// What the reply to a comment means.
    pub(super) fn verdict(&self) -> Verdict {
        let mut verdict = match (self.ok, self.code()) {
            (true, Some(Code::Ok)) => Verdict::new(VerdictKind::Delivered, ""),
            (true, _) => self.unclear("the hook says yes with an error's code"),
            (false, Some(Code::CommentFailed)) if self.is_safe() => {
                self.said(VerdictKind::Denied, Code::CommentFailed)
            }
            (false, Some(Code::Ok) | None) => self.unclear("the hook says no with a code that means nothing"),
            (false, Some(code)) => self.said(of_code(code), code),
        };
        if verdict.kind != VerdictKind::Delivered {
            verdict.provider_error_code = self.error_code.to_string();
            verdict.provider_error_message.clone_from(&self.error_message);
        }
        verdict
    }

    fn said(&self, kind: VerdictKind, code: Code) -> Verdict {
        Verdict::new(kind, format!("the hook says: {}", self.error_message)).with_code(code)
    }

    fn unclear(&self, what: &str) -> Verdict {
        let message = format!("{what} ({}): {}", self.error_code, self.error_message);
        Verdict::new(VerdictKind::Unknown, message).with_code(Code::UpstreamBadReply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(json: Value) -> HookReply {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn codes_mean_what_the_contract_says_and_30_is_in_doubt_unless_its_message_is_known() {
        for (ok, code, message, kind) in [
            (true, 0, "", "delivered"),
            (true, 30, "", "unknown"),
            (false, 0, "", "unknown"),
            (false, 1, "", "unknown"),
            (false, 2, "", "unknown"),
            (false, 3, "", "unknown"),
            (false, 10, "", "refused"),
            (false, 20, "", "denied"),
            (false, 30, "timeout (job may still be running)", "unknown"),
            (false, 30, "timeout; runtime context not captured yet", "unknown"),
            (false, 30, "Runtime context not captured yet", "denied"),
            (false, 30, "request template not ready", "denied"),
            (false, 30, "capture-thread execution timeout", "denied"),
            (false, 30, "capture-thread execution timeout (job may still be running)", "unknown"),
            (false, 30, "pipe-thread execution timeout", "unknown"),
            (false, 31, "", "denied"),
            (false, 40, "", "denied"),
            (false, 50, "", "denied"),
            (false, 53, "", "throttled"),
            (false, 57, "", "misplaced"),
            (false, 62, "", "not_sent"),
            (false, 4711, "", "unknown"),
        ] {
            let verdict = reply(json!({"ok": ok, "error_code": code, "error_message": message})).verdict();
            assert_eq!(verdict.kind.as_str(), kind, "{ok} {code} {message:?}");
        }
    }

    #[test]
    fn a_frame_that_says_a_thing_twice_is_no_reply() {
        for frame in [
            r#"{"ok":true,"task_id":"a","ok":false,"error_code":10}"#,
            r#"{"ok":true,"task_id":"a","data":{"sns_id":"1","sns_id":"2"}}"#,
            r#"{"ok":false,"task_id":"a","v":1,"v":1}"#,
        ] {
            let error = HookReply::read(frame.as_bytes()).unwrap_err();
            assert!(error.contains("comes twice"), "{frame}: {error}");
        }
        assert!(HookReply::read(br#"{"ok":true,"task_id":"a","data":{"sns_id":"1"}}"#).unwrap().ok);
    }

    #[test]
    fn a_target_keeps_all_its_digits_and_status_says_why_not() {
        let id = reply(json!({"ok": true, "data": {"sns_id": 14_287_710_653_886_042_616_u64}}));
        assert_eq!(id.sns_id(), "14287710653886042616");
        assert_eq!(reply(json!({"ok": true, "data": {"sns_id": 1.5}})).sns_id(), "");
        let status = |data: Value| reply(json!({"ok": true, "data": data})).why_not_able();
        assert_eq!(
            status(json!({"hook_installed": true, "state_captured": true, "context_fresh": false})),
            None
        );
        assert_eq!(status(json!({"state_captured": true})).unwrap().0, Code::HookNotInstalled);
        assert_eq!(status(json!({"hook_installed": true})).unwrap().0, Code::ProviderUnavailable);
        let broken = reply(json!({"ok": false, "error_code": 40, "error_message": "3.9.10"}));
        assert_eq!(broken.why_not_able().unwrap().0, Code::WechatVersionMismatch);
    }
}
