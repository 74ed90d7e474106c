//! What may come over the pipe of the hook: only a whole frame of allowed length that names the comment's own request
//! decides its fate, and what isn't one leaves it unknown. Parts: the target (if it is empty, the hook is asked for
//! it), then a frame each. A frame's first line is the length that it announces: empty for its true one, `raw` for
//! bytes without any.

use commentd_contract::{Addressing, Code, VerdictKind};
use commentd_delivery::verdict::Effect;
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Moment, Verdict};
use commentd_providers::hook_pipe::{ExecutionMode, HookOptions, HookPipe};
use commentd_providers::{Provider, ProviderJob};
use serde::Deserialize;
use serde_json::Value;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

/// The longest frame that is a reply, in bytes; docs/channels.md says so, too.
const LONGEST_FRAME: usize = 1 << 20;
/// Longer than any input takes; whoever waits this long waits for what never comes.
const TIMEOUT_MS: u64 = 60_000;

/// A frame as a reply, read without what decides about it.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    task_id: Value,
    ok: bool,
    #[serde(default)]
    error_code: i64,
    #[serde(default, rename = "error_message")]
    _message: Value,
    #[serde(default, rename = "data")]
    _data: Value,
}

/// The time doesn't matter here.
struct Still;

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment::START
    }

    fn unix_ms(&self) -> u64 {
        0
    }
}

pub(super) fn feed(input: &[u8]) -> Result<(), String> {
    let mut parts = split(input).into_iter();
    let asks = parts.next().unwrap_or_default().is_empty();
    let sent: Vec<u8> = parts.flat_map(framed).collect();
    let gate = Gate::new();
    let verdict = attempt(&sent, asks, &gate).map_err(|error| format!("the pipe can't be made: {error}"))?;
    let fate = judged(&sent, asks, gate.is_passed(), &verdict);
    fate.map_err(|what| format!("{what}: {}", verdict.message))
}

fn split(input: &[u8]) -> Vec<&[u8]> {
    const BETWEEN: &[u8] = b"\n%%\n";
    let (mut parts, mut rest) = (Vec::new(), input);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|bytes| bytes == BETWEEN) {
        let (part, more) = rest.split_at(at);
        parts.push(part);
        rest = more.get(BETWEEN.len()..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}

fn framed(part: &[u8]) -> Vec<u8> {
    let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (announced, frame) = part.split_at(end);
    let frame = frame.strip_prefix(b"\n").unwrap_or(frame);
    let length = match std::str::from_utf8(announced) {
        Ok("raw") => return frame.to_vec(),
        Ok(number) => number.parse().ok(),
        Err(_) => None,
    };
    let length = length.or(u32::try_from(frame.len()).ok()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), frame].concat()
}

/// One attempt against a pipe that says this and then nothing more.
fn attempt(sent: &[u8], asks: bool, gate: &Gate) -> io::Result<Verdict> {
    thread_local! {
        static PLACE: io::Result<tempfile::TempDir> = tempfile::tempdir();
    }
    PLACE.with(|place| {
        let place = place.as_ref().map_err(|error| io::Error::other(error.to_string()))?;
        let path = place.path().join("pipe");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let verdict = runtime.block_on(attempt_over(&path, sent, asks, gate));
        std::fs::remove_file(&path)?;
        verdict
    })
}

async fn attempt_over(path: &Path, sent: &[u8], asks: bool, gate: &Gate) -> io::Result<Verdict> {
    let listener = UnixListener::bind(path)?;
    let options = HookOptions {
        pipe_name: path.to_string_lossy().into_owned(),
        timeout_ms: TIMEOUT_MS,
        execution_mode: ExecutionMode::Auto,
        wait_timeout_ms: 1000,
        arg1_mode: "template".into(),
        tls_copy: false,
        latest_sns_id: true,
    };
    let provider = HookPipe::new(options, Arc::new(Still));
    let sns_id = if asks { String::new() } else { "1".into() };
    let addressing = Addressing { sns_id, ..Addressing::default() };
    let comment = Comment { content: "hi".into(), addressing: addressing.into() };
    let job = ProviderJob {
        id: DeliveryId::from_bytes([7; 16]),
        comment: Arc::new(comment),
        trace_id: "".into(),
        attempt: 1,
        began_ms: None,
        deadline: Moment::START,
    };
    let hook = async {
        let (mut stream, _) = listener.accept().await?;
        // It may have been left already.
        let _ = stream.write_all(sent).await;
        let _ = stream.shutdown().await;
        Ok::<_, io::Error>(stream)
    };
    let (verdict, hook) = tokio::join!(provider.attempt(&job, gate), hook);
    hook.map(|_closed_now| verdict)
}

/// The whole frames at the start of this, up to the first that is none.
fn frames(mut sent: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = sent.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        match rest.split_at_checked(length) {
            Some((frame, rest)) if length <= LONGEST_FRAME => {
                frames.push(frame);
                sent = rest;
            }
            _ => break,
        }
    }
    frames
}

/// A frame as a reply, if it is one. What isn't UTF-8 in its texts leaves the others as they are, and so does a byte
/// order mark.
fn said(frame: &[u8]) -> Option<Said> {
    let text = frame.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame);
    serde_json::from_str(&String::from_utf8_lossy(text)).ok()
}

fn judged(sent: &[u8], asks: bool, passed: bool, verdict: &Verdict) -> Result<(), String> {
    // A hook that speaks of a timeout of its own has answered; ours has no code of the hook's.
    if verdict.code == Code::PipeTimeout && verdict.provider_error_code.is_empty() {
        return Err("it waited for what never comes".into());
    }
    if verdict.message.len() > sent.len() + 1024 {
        return Err(format!("{} bytes became a message of {}", sent.len(), verdict.message.len()));
    }
    let effect = verdict.rule().effect;
    if !passed {
        return match effect {
            Effect::None => Ok(()),
            _ => Err(format!("{} before anything was sent", verdict.kind)),
        };
    }
    let mut frames = frames(sent).into_iter();
    let mut answer = |task_id: &str| frames.by_ref().map_while(said).find(|said| said.task_id == task_id);
    let id = format!("{}-1", DeliveryId::from_bytes([7; 16]));
    if answer(&format!("{id}-status")).is_none_or(|said| !said.ok) {
        return Err("the comment was sent to a hook that didn't say that it is able".into());
    }
    if asks && answer(&format!("{id}-query")).is_none_or(|said| !said.ok) {
        return Err("the comment was sent without a target".into());
    }
    match answer(&id) {
        None if verdict.kind == VerdictKind::Unknown => Ok(()),
        None => Err(format!("{} without a reply to the comment", verdict.kind)),
        Some(said) if said.ok && effect == Effect::None => {
            Err(format!("the hook said yes, and it is {}", verdict.kind))
        }
        Some(said) if verdict.kind == VerdictKind::Delivered && !(said.ok && said.error_code == 0) => {
            Err("the hook said no, and it is delivered".into())
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABLE: &str = r#"{"task_id":"07070707070707070707070707070707-1-status","ok":true,"data":{"hook_installed":true,"state_captured":true}}"#;
    const YES: &str = r#"{"task_id":"07070707070707070707070707070707-1","ok":true}"#;
    const NO: &str = r#"{"task_id":"07070707070707070707070707070707-1","ok":false,"error_code":10}"#;

    fn verdict(frames: &[&str]) -> (VerdictKind, bool) {
        let sent: Vec<u8> = frames.iter().flat_map(|part| framed(part.as_bytes())).collect();
        let gate = Gate::new();
        let verdict = attempt(&sent, false, &gate).unwrap();
        judged(&sent, false, gate.is_passed(), &verdict).unwrap();
        (verdict.kind, gate.is_passed())
    }

    /// A target that never gets past the gate would find nothing.
    #[test]
    fn the_attempt_is_driven_to_each_of_its_ends() {
        let (able, yes, no) = (format!("\n{ABLE}"), format!("\n{YES}"), format!("\n{NO}"));
        let whole = [able.as_str(), &yes];
        assert_eq!(verdict(&whole), (VerdictKind::Delivered, true));
        assert_eq!(verdict(&[&able, &no]), (VerdictKind::Refused, true));
        assert_eq!(verdict(&[&yes, &able]), (VerdictKind::Unknown, true));
        assert_eq!(verdict(&[&able]), (VerdictKind::Unknown, true));
        assert_eq!(verdict(&[&able, "\n<html>", &yes]), (VerdictKind::Unknown, true));
        assert_eq!(verdict(&[&able, &format!("4294967295\n{YES}")]), (VerdictKind::Unknown, true));
        assert_eq!(verdict(&[&able, &format!("500\n{YES}")]), (VerdictKind::Unknown, true));
        assert_eq!(verdict(&[&able, &yes.replace("-1\"", "-2\"")]), (VerdictKind::Unknown, true));
        assert_eq!(verdict(&["\nnull"]), (VerdictKind::NotSent, false));
    }

    /// A judge that never complains might be blind.
    #[test]
    fn every_claim_without_its_reply_is_seen() {
        let sent: Vec<u8> =
            [ABLE, NO].into_iter().flat_map(|text| framed(format!("\n{text}").as_bytes())).collect();
        let said = |kind| Verdict::new(kind, "");
        assert!(judged(&sent, false, true, &said(VerdictKind::Refused)).is_ok());
        assert!(judged(&sent, false, true, &said(VerdictKind::Delivered)).is_err());
        assert!(judged(&sent, true, true, &said(VerdictKind::Unknown)).is_err());
        assert!(judged(&sent, false, false, &said(VerdictKind::Unknown)).is_err());
        let cut = sent.get(..sent.len() - 1).unwrap();
        assert!(judged(cut, false, true, &said(VerdictKind::Refused)).is_err());
        assert!(judged(cut, false, true, &said(VerdictKind::Unknown)).is_ok());
        assert!(judged(&[], false, true, &said(VerdictKind::Unknown)).is_err());
    }
}
