//! The names that expressions see, looked up when an expression asks: most requests and replies need only a few.

use super::judge::Reply;
use crate::json::{self, Json, Part};
use commentd_delivery::id::Digits;
use commentd_delivery::{Comment, DeliveryId};
use minijinja::value::{Object, Serde};
use minijinja::{Value, context};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What expressions see of one delivery: settings, comment, delivery id, marker, time.
#[derive(Clone)]
pub struct Scope {
    names: Arc<Names>,
    /// Values beside the names, or instead of them.
    over: Option<Value>,
}

/// The names of one delivery.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) settings: Value,
    pub(super) comment: Arc<Comment>,
    pub(super) id: DeliveryId,
    /// The id as expressions see it.
    pub(super) digits: Digits,
    /// Empty if the channel carries none.
    pub(super) marker: String,
    /// Wall time, in milliseconds since 1970.
    pub(super) unix_ms: u64,
    /// How long the caller still waits; `None` where nobody does.
    pub(super) left_ms: Option<u64>,
    /// The trace that the attempt belongs to; empty for none.
    pub(super) trace_id: Arc<str>,
    /// When its first attempt began: wall time, in milliseconds since 1970; `None` where that isn't known.
    pub(super) began_ms: Option<u64>,
}

/// What an expression is known to give.
pub(super) enum Known<'a> {
    /// One of the delivery's own texts, or one of the reply's.
    Text(&'a str),
    /// One of its numbers.
    Number(u64),
    /// Nothing: its leaf is left out.
    Omit,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand, because it has secrets in the clear.
        f.debug_struct("Names").field("id", &self.id).field("unix_ms", &self.unix_ms).finish_non_exhaustive()
    }
}

impl Names {
    /// The length of the comment's text, in bytes.
    pub(super) fn content_len(&self) -> usize {
        self.comment.content.len()
    }

    /// The names that are always texts.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let to = &self.comment.addressing;
        Some(match name {
            "content" => &self.comment.content,
            "sns_id" => &to.sns_id,
            "author" => &to.author,
            "content_hash" => &to.content_hash,
            "reply_to" => &to.reply_to,
            "wxid" => &to.wxid,
            "delivery_id" => self.digits.as_str(),
            "trace_id" => &self.trace_id,
            _ => return None,
        })
    }

    /// What this gives, where that needs no value of MiniJinja's.
    pub(super) fn known(&self, name: &str) -> Option<Known<'_>> {
        match name {
            "left_ms" => self.left_ms.map(Known::Number),
            _ => self.text(name).map(Known::Text),
        }
    }

    /// Whether this is a text or a table with nothing in it, or no number, or 0.
    pub(super) fn is_empty(&self, name: &str) -> bool {
        match name {
            "vars" => self.comment.addressing.vars.is_empty(),
            "left_ms" => self.left_ms.is_none_or(|left_ms| left_ms == 0),
            _ => self.text(name).is_some_and(str::is_empty),
        }
    }
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        if let Some(text) = self.text(name) {
            return Some(Value::from(text));
        }
        Some(match name {
            "settings" => self.settings.clone(),
            "vars" => Value::from(Serde(&self.comment.addressing.vars)),
            "marker" if self.marker.is_empty() => Value::from(()),
            "marker" => Value::from(self.marker.as_str()),
            "now_ms" => Value::from(self.unix_ms),
            "now_s" => Value::from(self.unix_ms / 1000),
            "nonce" => Value::from(format!("{:016x}", self.id.seed() ^ self.unix_ms)),
            "left_ms" => self.left_ms.map_or_else(|| Value::from(()), Value::from),
            _ => return None,
        })
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.names).finish()
    }
}

impl Scope {
    pub(super) fn new(names: Names) -> Self {
        Self { names: Arc::new(names), over: None }
    }

    pub(super) fn value(&self) -> Value {
        let names = Value::from_dyn_object(Arc::clone(&self.names));
        match &self.over {
            None => names,
            Some(over) => context! { ..over.clone(), ..names },
        }
    }

    /// The same with these values beside, or instead.
    pub(super) fn with(&self, values: Value) -> Scope {
        let over = match &self.over {
            None => values,
            Some(over) => context! { ..values, ..over.clone() },
        };
        Scope { names: Arc::clone(&self.names), over: Some(over) }
    }

    /// The same for a caller that gets its answer in so many milliseconds, with its trace id, empty for none.
    #[must_use]
    pub fn with_caller(mut self, left_ms: u64, trace_id: &Arc<str>) -> Scope {
        let names = Arc::make_mut(&mut self.names);
        names.left_ms = Some(left_ms);
        names.trace_id = Arc::clone(trace_id);
        self
    }

    /// The same for a delivery whose first attempt began then: wall time, in milliseconds since 1970.
    #[must_use]
    pub fn with_began_ms(mut self, began_ms: u64) -> Scope {
        Arc::make_mut(&mut self.names).began_ms = Some(began_ms);
        self
    }

    /// When its first attempt began: wall time, in milliseconds since 1970; `None` where that isn't known.
    pub(super) fn began_ms(&self) -> Option<u64> {
        self.names.began_ms
    }

    /// Whether the channel carries a marker of this delivery.
    pub(super) fn is_marked(&self) -> bool {
        !self.names.marker.is_empty()
    }

    /// Whether the id that a marker carries stands in this body.
    pub fn is_marker_in(&self, body: &[u8]) -> bool {
        let digits = self.names.digits.as_str().as_bytes();
        self.is_marked() && body.windows(digits.len()).any(|part| part == digits)
    }

    /// The wall time that expressions see, in milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        self.names.unix_ms
    }
}

/// The names of a reply, and those that its request could use.
pub(super) struct ReplyNames {
    reply: Reply,
    under: Value,
    /// The body, read as JSON when it is first asked for; none if it can't be read as JSON in one way.
    json: OnceLock<Option<Json>>,
    /// The same for expressions that want all of it.
    body: OnceLock<Value>,
}

impl fmt::Debug for ReplyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyNames").field("status", &self.reply.status).finish_non_exhaustive()
    }
}

impl ReplyNames {
    /// The name of all of this within expressions; none that a manifest can write.
    pub(super) const ITSELF: &'static str = "(the reply)";

    pub(super) fn new(reply: Reply, under: Value) -> Self {
        Self { reply, under, json: OnceLock::new(), body: OnceLock::new() }
    }

    /// What `at` gives, without making a value of all the rest.
    pub(super) fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Value {
        self.part(path).map_or_else(|| Value::from(()), |part| Value::from(Serde(part)))
    }

    /// What stands there in the body.
    pub(super) fn part<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<Part<'_>> {
        self.json()?.whole().at(path)
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Option<&Json> {
        self.json.get_or_init(|| json::read(&self.reply.body).ok()).as_ref()
    }

    fn body(&self) -> Value {
        self.json().map_or_else(|| Value::from(()), |body| Value::from(Serde(body.whole())))
    }
}

impl Object for ReplyNames {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        Some(match name {
            "status" => Value::from(self.reply.status),
            "headers" => Value::from(Serde(&self.reply.headers.to_map())),
            "body" => self.body.get_or_init(|| self.body()).clone(),
            "text" => Value::from(self.reply.text()),
            Self::ITSELF => Value::from_dyn_object(Arc::clone(self)),
            other => return self.under.get_attr(other).ok().filter(|value| !value.is_undefined()),
        })
    }
}
