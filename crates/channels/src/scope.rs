//! The names that expressions see, looked up when an expression asks: most requests and replies need only a few. With
//! all of them put into a table first, a delivery would take 31 % more instructions (callgrind, in the sidecar).

use crate::json::{self, Json, Part};
use crate::reply::ChannelReply;
use commentd_delivery::id::Digits;
use commentd_delivery::{Comment, DeliveryId};
use minijinja::value::{Object, Serde};
use minijinja::{Value, context};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What expressions see of one delivery: settings, comment, delivery id, marker, time.
#[derive(Clone)]
pub struct Scope {
    names: Arc<DeliveryNames>,
    /// Values beside the names, or instead of them.
    over: Option<Value>,
}

/// The names of one delivery.
#[derive(Clone)]
pub(crate) struct DeliveryNames {
    pub(crate) settings: Value,
    pub(crate) comment: Arc<Comment>,
    pub(crate) id: DeliveryId,
    /// The id as expressions see it.
    pub(crate) digits: Digits,
    /// Empty if the channel carries none.
    pub(crate) marker: String,
    /// Wall time, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// How long the caller still waits; `None` where nobody does.
    pub(crate) left_ms: Option<u64>,
    /// The trace that the attempt belongs to; empty for none.
    pub(crate) trace_id: Arc<str>,
    /// When its first attempt began: wall time, in milliseconds since 1970; `None` where that isn't known.
    pub(crate) began_ms: Option<u64>,
}

impl fmt::Debug for DeliveryNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand, because it has secrets in the clear.
        f.debug_struct("DeliveryNames")
            .field("id", &self.id)
            .field("unix_ms", &self.unix_ms)
            .finish_non_exhaustive()
    }
}

impl DeliveryNames {
    /// The length of the comment's text, in bytes.
    pub(crate) fn content_len(&self) -> usize {
        self.comment.content.len()
    }

    /// The names that are always texts.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
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
}

impl Object for DeliveryNames {
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
    pub(crate) fn new(names: DeliveryNames) -> Self {
        Self { names: Arc::new(names), over: None }
    }

    pub(crate) fn value(&self) -> Value {
        let names = Value::from_dyn_object(Arc::clone(&self.names));
        match &self.over {
            None => names,
            Some(over) => context! { ..over.clone(), ..names },
        }
    }

    /// The same with these values beside, or instead.
    pub(crate) fn with(&self, values: Value) -> Scope {
        let over = match &self.over {
            None => values,
            Some(over) => context! { ..values, ..over.clone() },
        };
        Scope { names: Arc::clone(&self.names), over: Some(over) }
    }

    /// What expressions over a reply see: what its request could use, and the reply.
    pub(crate) fn with_reply(&self, reply: &ChannelReply) -> Value {
        reply_scope(reply, self.value())
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
    pub(crate) fn began_ms(&self) -> Option<u64> {
        self.names.began_ms
    }

    /// Whether the channel carries a marker of this delivery.
    pub(crate) fn is_marked(&self) -> bool {
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

/// What expressions over a reply see, where its request could use `values`.
pub(crate) fn reply_scope(reply: &ChannelReply, values: Value) -> Value {
    Value::from_object(ReplyNames::new(reply.clone(), values))
}

/// The names of a reply, and those that its request could use.
pub(crate) struct ReplyNames {
    reply: ChannelReply,
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
    pub(crate) const ITSELF: &'static str = "(the reply)";

    pub(crate) fn new(reply: ChannelReply, under: Value) -> Self {
        Self { reply, under, json: OnceLock::new(), body: OnceLock::new() }
    }

    /// What `at` gives, without making a value of all the rest.
    pub(crate) fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Value {
        self.part(path).map_or_else(|| Value::from(()), |part| Value::from(Serde(part)))
    }

    /// What stands there in the body.
    pub(crate) fn part<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<Part<'_>> {
        self.json()?.whole().at(path)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<&Json> {
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
