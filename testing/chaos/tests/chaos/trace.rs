//! What a process has written, and when it was on the disk, by `strace`'s word.
//!
//! The lines of a trace are in the order in which the calls began and ended, for all threads together: a call that
//! begins on a later line than another one's end began later.

use crate::pages::{PageRow, rows};
use rusqlite::types::Value;
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};

/// A system call that wrote or synced something.
#[derive(Debug, Default)]
struct SystemCall {
    name: String,
    /// What stands in angle brackets behind the file's number.
    file: String,
    data: Vec<u8>,
    result: i64,
}

/// A call begins or has ended.
enum CallPhase {
    Begins(usize),
    Ended(usize),
}

/// The calls of a trace, and their moments in order.
#[derive(Default)]
pub(crate) struct Trace {
    calls: Vec<SystemCall>,
    moments: Vec<CallPhase>,
}

impl Trace {
    /// Reads what `strace -f -y -o` has written.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut trace = Self::default();
        let mut open: HashMap<Vec<u8>, usize> = HashMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
            let (process, rest) = (line[..space].to_vec(), line[space..].trim_ascii());
            if rest.starts_with(b"<... ") {
                if let Some(call) = open.remove(&process) {
                    trace.calls[call].result = result(rest);
                    trace.moments.push(CallPhase::Ended(call));
                }
                continue;
            }
            let Some(paren) = rest.iter().position(|byte| *byte == b'(') else { continue };
            if rest.starts_with(b"+++") || rest.starts_with(b"---") {
                continue;
            }
            let call = trace.calls.len();
            trace.calls.push(SystemCall {
                name: String::from_utf8_lossy(&rest[..paren]).into_owned(),
                file: file(&rest[paren..]),
                data: strings(&rest[paren..]),
                result: result(rest),
            });
            trace.moments.push(CallPhase::Begins(call));
            if rest.ends_with(b"<unfinished ...>") {
                open.insert(process, call);
            } else {
                trace.moments.push(CallPhase::Ended(call));
            }
        }
        trace
    }
}

fn file(args: &[u8]) -> String {
    let text = String::from_utf8_lossy(args);
    let named = text.split_once('<').filter(|(number, _)| number.len() < 8);
    named.and_then(|(_, rest)| rest.split_once('>')).map_or_else(String::new, |(name, _)| name.to_owned())
}

fn result(line: &[u8]) -> i64 {
    let text = String::from_utf8_lossy(line);
    let value =
        text.rsplit_once(") = ").or_else(|| text.rsplit_once(")  = ")).map(|(_, value)| value.to_owned());
    let value =
        value.or_else(|| text.rsplit_once(" = ").map(|(_, value)| value.to_owned())).unwrap_or_default();
    value.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(-1)
}

/// All quoted strings of the arguments, one after the other.
fn strings(args: &[u8]) -> Vec<u8> {
    let (mut data, mut quoted, mut at) = (Vec::new(), false, 0);
    while let Some(byte) = args.get(at).copied() {
        at += 1;
        match byte {
            b'"' => {
                quoted = !quoted;
                assert!(quoted || !args[at..].starts_with(b"..."), "strace has cut a string; raise its -s");
            }
            b'\\' if quoted => {
                let digits = args[at..].iter().take(3).take_while(|byte| (b'0'..b'8').contains(byte)).count();
                if digits > 0 {
                    let octal = std::str::from_utf8(&args[at..at + digits]).unwrap();
                    data.push(u8::try_from(u32::from_str_radix(octal, 8).unwrap()).unwrap());
                    at += digits;
                    continue;
                }
                data.push(match args[at] {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'v' => 0x0b,
                    b'f' => 0x0c,
                    other => other,
                });
                at += 1;
            }
            byte if quoted => data.push(byte),
            _ => {}
        }
    }
    data
}

/// What a row of the ledger says.
enum TracedEvent {
    /// The delivery has an attempt with this marker, which came to these kinds of verdict.
    Attempt { delivery: i64, marker: String, kinds: Vec<String> },
    /// The delivery's first attempt came to these.
    End { delivery: i64, kinds: Vec<String> },
}

type Page = Vec<TracedEvent>;

/// The ledger's pages as they would be there after a loss of power.
#[derive(Default)]
struct SyncedDisk {
    durable: BTreeMap<u32, Page>,
    /// The number of the page that comes next, and whether it ends a transaction.
    next: Option<(u32, bool)>,
    transaction: Vec<(u32, Page)>,
    committed: Vec<(u32, Page)>,
    /// What each sync under way will have made durable.
    syncing: HashMap<usize, Vec<(u32, Page)>>,
}

impl SyncedDisk {
    /// Takes in a write to the write-ahead log: the header of a frame, or its page.
    fn written(&mut self, data: &[u8]) {
        if data.len() == 24 {
            let number = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
            self.next = Some((number(0), number(4) != 0));
            return;
        }
        let Some((page, ends)) = self.next.take() else { return };
        self.transaction.push((page, facts(data)));
        if ends {
            self.committed.append(&mut self.transaction);
        }
    }

    /// How many attempts with this marker survive.
    fn attempts(&self, marker: &str) -> usize {
        self.deliveries_of(marker).count()
    }

    /// Whether one of them has come to this.
    fn has(&self, marker: &str, wanted: &[&str]) -> bool {
        let Some(wanted_of) = self.deliveries_of(marker).next() else { return false };
        self.durable.values().flatten().any(|fact| {
            let (TracedEvent::Attempt { delivery, kinds, .. } | TracedEvent::End { delivery, kinds }) = fact;
            *delivery == wanted_of && kinds.iter().any(|kind| wanted.contains(&kind.as_str()))
        })
    }

    /// The delivery of each attempt with this marker, which is one and the same.
    fn deliveries_of(&self, marker: &str) -> impl Iterator<Item = i64> {
        self.durable.values().flatten().filter_map(move |fact| match fact {
            TracedEvent::Attempt { delivery, marker: other, .. } if other == marker => Some(*delivery),
            _ => None,
        })
    }
}

/// What stands on a page, told by how many columns its rows have.
fn facts(page: &[u8]) -> Page {
    rows(page).into_iter().filter_map(fact).collect()
}

fn fact(row: PageRow) -> Option<TracedEvent> {
    let text = |column: usize| match &row.columns[column] {
        Value::Text(text) => text.clone(),
        _ => String::new(),
    };
    Some(match (row.columns.len(), row.number, row.columns.first()) {
        // `deliveries`, each with its first attempt, and `ends`, where that came to something.
        (16, Some(delivery), _) => TracedEvent::Attempt { delivery, marker: text(13), kinds: Vec::new() },
        (6, Some(delivery), Some(Value::Null)) => {
            TracedEvent::End { delivery, kinds: kinds([text(3), text(4)]) }
        }
        // `attempts`, the further ones.
        (11, None, Some(Value::Integer(delivery))) => {
            TracedEvent::Attempt { delivery: *delivery, marker: text(7), kinds: kinds([text(9), text(10)]) }
        }
        _ => return None,
    })
}

/// The kinds of a verdict and of a resolution, as far as they are there.
fn kinds(texts: [String; 2]) -> Vec<String> {
    let kind = |text: String| {
        let value: Json = serde_json::from_str(&text).ok()?;
        let kind = value.get("kind").or_else(|| value.get("verdict")?.get("kind"));
        kind.and_then(Json::as_str).map(str::to_owned)
    };
    texts.into_iter().filter_map(kind).collect()
}

/// What a trace shows.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Comments that were sent to the channel.
    pub(crate) sent: usize,
    /// Comments that were answered with an outcome.
    pub(crate) answered: usize,
    /// Comments whose first byte left before their intent was on the disk.
    pub(crate) sent_early: Vec<String>,
    /// Comments that were answered before what was said of them was on the disk.
    pub(crate) answered_early: Vec<String>,
}

/// Follows the trace of a sidecar in front of the board: what was on the disk when each comment was sent, and when
/// each was answered.
pub(crate) fn prove(trace: &Trace) -> Proof {
    let mut disk = SyncedDisk::default();
    let mut proof = Proof::default();
    let mut sends: HashMap<String, usize> = HashMap::new();
    for moment in &trace.moments {
        match moment {
            CallPhase::Begins(number) => {
                let call = &trace.calls[*number];
                let is_log = call.file.ends_with("-wal");
                if is_log && call.name.ends_with("sync") {
                    // Only what was written whole before the sync began is covered by it.
                    disk.syncing.insert(*number, std::mem::take(&mut disk.committed));
                } else if call.data.starts_with(b"POST /api/comments") {
                    let marker = marker_of(&call.data);
                    let sends = sends.entry(marker.clone()).or_default();
                    *sends += 1;
                    proof.sent += 1;
                    if disk.attempts(&marker) < *sends {
                        proof.sent_early.push(marker);
                    }
                } else if call.data.starts_with(b"HTTP/1.1 200") {
                    answered(&call.data, &disk, &mut proof);
                }
            }
            CallPhase::Ended(number) => {
                let call = &trace.calls[*number];
                if !call.file.ends_with("-wal") {
                    continue;
                }
                if call.name.ends_with("sync") {
                    let pages = disk.syncing.remove(number).unwrap_or_default();
                    if call.result == 0 {
                        disk.durable.extend(pages);
                    }
                } else {
                    assert_eq!(
                        call.result,
                        i64::try_from(call.data.len()).unwrap(),
                        "a write that fell short"
                    );
                    disk.written(&call.data);
                }
            }
        }
    }
    proof
}

/// The delivery id in the header `Idempotency-Key`, which is the marker.
fn marker_of(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let (_, after) = text.split_once("idempotency-key: \"").unwrap_or_else(|| panic!("no key in {text}"));
    after[..32].to_owned()
}

fn answered(reply: &[u8], disk: &SyncedDisk, proof: &mut Proof) {
    let body = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let reply: Json = serde_json::from_slice(&reply[body..]).expect("a reply is written whole");
    let data = &reply["data"];
    let one = [data.clone()];
    for item in data["results"].as_array().map_or(&one[..], Vec::as_slice) {
        let (Some(id), Some(outcome)) = (item["delivery_id"].as_str(), item["outcome"].as_str()) else {
            continue;
        };
        proof.answered += 1;
        let is_durable = match outcome {
            "unknown" => disk.attempts(id) > 0,
            "refused" => disk.has(id, &["refused", "duplicate"]),
            "not_sent" => disk.has(id, &["not_sent", "throttled", "denied"]),
            other => disk.has(id, &[other]),
        };
        if !is_durable {
            proof.answered_early.push(format!("{id} {outcome}"));
        }
    }
}
