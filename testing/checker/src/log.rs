//! What clients asked, and what came back, in the order in which it happened.

use commentd_contract::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead};

/// One line of the clients' log. Its place in the file is its place in time: `asked` is written before the request
/// leaves, the others after the answer or its absence is certain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum CallEvent {
    /// A request is about to be sent.
    Asked {
        /// Which call; numbers are used once.
        call: u64,
        /// Wall time, in milliseconds since 1970.
        at_ms: u64,
        /// The key that the items share.
        key: String,
        /// The comments' texts, in order; each text belongs to one item of one key only.
        texts: Vec<String>,
    },
    /// An answer came.
    Answered {
        /// Which call.
        call: u64,
        /// Wall time, in milliseconds since 1970.
        at_ms: u64,
        /// The HTTP status.
        status: u16,
        /// What was said of each comment; empty where the status says that nothing was.
        items: Vec<ItemReply>,
    },
    /// No answer came, and none will.
    Unanswered {
        /// Which call.
        call: u64,
        /// Wall time, in milliseconds since 1970.
        at_ms: u64,
        /// Why.
        reason: String,
    },
}

/// What was said of one comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemReply {
    /// The outcome.
    pub outcome: Outcome,
    /// The channel's id of it; empty if none was given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment_id: String,
    /// Whether it was a replay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Whether it was told as a success.
    #[serde(default)]
    pub success: bool,
    /// The code.
    #[serde(default)]
    pub error_code: i64,
    /// The text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_message: String,
}

/// One call about one comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommentCall {
    /// Place of the question in the log.
    pub asked: usize,
    /// Wall time of the question, in milliseconds since 1970.
    pub asked_ms: u64,
    /// Place of its end in the log; `None` if the log ends before it.
    pub ended: Option<usize>,
    /// Wall time of its end, in milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// What was said of the comment; `None` if nothing was.
    pub answer: Option<ItemReply>,
    /// Whether an answer came that says nothing of the comment: the sidecar had no room, or the key was in flight.
    pub put_off: bool,
    /// Whether that answer says that somebody else has the key in flight.
    pub says_in_flight: bool,
    /// Whether that answer says that it succeeded, of whatever.
    pub says_success: bool,
    /// Why nothing was said, for people.
    pub silence: String,
}

/// The code of a comment whose key was in flight when the deadline came: nothing is said of the comment itself,
/// and the outcome beside it means only that.
const KEY_IN_FLIGHT: i64 = 64;
/// What is said beside that code where somebody else is at it; a ledger that doesn't answer says something else.
const IN_FLIGHT: &str = "in flight";

impl CommentCall {
    fn end(&mut self, place: usize, at_ms: u64, silence: String) {
        self.ended = Some(place);
        self.ended_ms = Some(at_ms);
        self.silence = silence;
    }
}

/// All that happened to one comment of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommentHistory {
    /// The key.
    pub key: String,
    /// Its place in the batch.
    pub item: usize,
    /// The calls, in the order of their questions.
    pub calls: Vec<CommentCall>,
}

/// A log, by the text of the comments.
#[derive(Clone, Debug, Default)]
pub struct CallLog {
    /// Histories by text.
    pub histories: BTreeMap<String, CommentHistory>,
    /// Calls that have no answer.
    pub unanswered: u64,
    /// All calls.
    pub calls: u64,
    /// Keys.
    pub keys: u64,
}

/// What is wrong with a log as such.
#[derive(Debug, thiserror::Error)]
pub enum CallLogError {
    /// It can't be read.
    #[error("the log can't be read: {0}")]
    Io(io::Error),
    /// A line isn't an entry, or doesn't fit the ones before it.
    #[error("line {number} of the log: {reason}")]
    Line {
        /// Which line, from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
}

impl CallLog {
    /// Reads a log, a JSON line an entry. A last line that was cut off, as by the end of the writer, is left out.
    ///
    /// # Errors
    /// When it can't be read, a line isn't an entry, or one contradicts those before it.
    pub fn read(lines: impl BufRead) -> Result<Self, CallLogError> {
        let mut entries = Vec::new();
        let mut broken = None;
        for (index, line) in lines.lines().enumerate() {
            let line = line.map_err(CallLogError::Io)?;
            if let Some(error) = broken.take() {
                return Err(error);
            }
            match serde_json::from_str(&line) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    broken = Some(CallLogError::Line { number: index + 1, reason: error.to_string() });
                }
            }
        }
        Self::of(&entries)
    }

    /// Makes a log of its entries.
    ///
    /// # Errors
    /// When one contradicts those before it.
    pub fn of(entries: &[CallEvent]) -> Result<Self, CallLogError> {
        let mut log = CallLog::default();
        let mut open: BTreeMap<u64, (Vec<String>, usize)> = BTreeMap::new();
        let mut keys = std::collections::BTreeSet::new();
        for (place, entry) in entries.iter().enumerate() {
            let wrong = |reason: &str| CallLogError::Line { number: place + 1, reason: reason.into() };
            match entry {
                CallEvent::Asked { call, at_ms, key, texts } => {
                    log.calls += 1;
                    keys.insert(key.clone());
                    if open.insert(*call, (texts.clone(), place)).is_some() {
                        return Err(wrong("this call was asked already"));
                    }
                    for (item, text) in texts.iter().enumerate() {
                        let history = log.histories.entry(text.clone()).or_insert_with(|| CommentHistory {
                            key: key.clone(),
                            item,
                            calls: Vec::new(),
                        });
                        if history.key != *key || history.item != item {
                            return Err(wrong("this text belongs to another key or place"));
                        }
                        history.calls.push(CommentCall {
                            asked: place,
                            asked_ms: *at_ms,
                            ended: None,
                            ended_ms: None,
                            answer: None,
                            put_off: false,
                            says_in_flight: false,
                            says_success: false,
                            silence: "the log ends before it".into(),
                        });
                    }
                }
                CallEvent::Answered { call, at_ms, status, items } => {
                    let (texts, asked) = open.remove(call).ok_or_else(|| wrong("nobody asked this"))?;
                    if !items.is_empty() && items.len() != texts.len() {
                        return Err(wrong("an answer for another number of comments"));
                    }
                    for (index, text) in texts.iter().enumerate() {
                        let item = items.get(index).cloned();
                        let says = |what: &dyn Fn(&ItemReply) -> bool| item.as_ref().is_some_and(what);
                        let in_flight = says(&|item| {
                            item.error_code == KEY_IN_FLIGHT && item.error_message.contains(IN_FLIGHT)
                        });
                        let success = says(&|item| item.success);
                        let answer = item.filter(|item| item.error_code != KEY_IN_FLIGHT);
                        let silence = format!("answered with status {status}, and nothing said of it");
                        if let Some(call) = log.call(text, asked) {
                            call.end(place, *at_ms, silence);
                            call.put_off = answer.is_none();
                            call.says_in_flight = in_flight;
                            call.says_success = success;
                            call.answer = answer;
                        }
                    }
                }
                CallEvent::Unanswered { call, at_ms, reason } => {
                    log.unanswered += 1;
                    let (texts, asked) = open.remove(call).ok_or_else(|| wrong("nobody asked this"))?;
                    for text in &texts {
                        if let Some(call) = log.call(text, asked) {
                            call.end(place, *at_ms, reason.clone());
                        }
                    }
                }
            }
        }
        log.unanswered += open.len() as u64;
        log.keys = keys.len() as u64;
        Ok(log)
    }

    /// The call about this comment that was asked at this place.
    fn call(&mut self, text: &str, asked: usize) -> Option<&mut CommentCall> {
        self.histories.get_mut(text)?.calls.iter_mut().rev().find(|call| call.asked == asked)
    }
}
