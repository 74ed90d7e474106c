//! The fields of a request, as they are written.

use super::addressing::Var;
use super::error::RequestError;
use super::json::read_bytes;
use super::stand_ins::reads_like_the_key;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// A text, or a whole number of 64 bits, whose digits are then the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextOrNumber(pub String);

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = TextOrNumber;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a whole number of 64 bits")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(text.to_owned()))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(text))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// All fields that any request may have.
#[derive(Default)]
pub(super) struct RequestFields<'a> {
    pub(super) v: Option<i64>,
    pub(super) cmd: Option<String>,
    pub(super) task_id: Option<String>,
    pub(super) sns_id: Option<TextOrNumber>,
    pub(super) target: Option<TextOrNumber>,
    pub(super) author: Option<String>,
    pub(super) content_hash: Option<String>,
    pub(super) reply_to: Option<TextOrNumber>,
    pub(super) wxid: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) deadline_ms: Option<i64>,
    pub(super) vars: Option<BTreeMap<String, Var>>,
    // Read in a second step, so that each endpoint ignores the other's fields.
    pub(super) content: Option<&'a RawValue>,
    pub(super) comments: Option<&'a RawValue>,
    pub(super) concurrency: Option<&'a RawValue>,
    /// A name that reads like the key's and isn't.
    misspelt_key: Option<String>,
}

impl<'a> RequestFields<'a> {
    /// Reads a whole body.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, RequestError> {
        let raw: Self = read_bytes("body", body)?;
        match raw.misspelt_key {
            Some(name) => Err(RequestError::Malformed(format!(
                "{name}: isn't known; the field of the key is idempotency_key"
            ))),
            None => Ok(raw),
        }
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum FieldName {
    V,
    Cmd,
    TaskId,
    SnsId,
    Target,
    Author,
    ContentHash,
    ReplyTo,
    Wxid,
    Provider,
    TraceId,
    IdempotencyKey,
    DeadlineMs,
    Vars,
    Content,
    Comments,
    Concurrency,
    Other(String),
}

/// By hand, because what serde derives takes an array for an object, and forgets the names that it doesn't know.
impl<'de> Deserialize<'de> for RequestFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RequestFields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RequestFields<'de>, A::Error> {
                let mut raw = RequestFields::default();
                let mut seen = 0_u32;
                while let Some(name) = map.next_key::<FieldName>()? {
                    field(&mut raw, name, &mut seen, &mut map)?;
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn field<'de, A: MapAccess<'de>>(
    raw: &mut RequestFields<'de>,
    name: FieldName,
    seen: &mut u32,
    map: &mut A,
) -> Result<(), A::Error> {
    let mut once = |bit: u32, name: &'static str| {
        let before = *seen;
        *seen |= 1 << bit;
        if before == *seen { Err(A::Error::duplicate_field(name)) } else { Ok(()) }
    };
    macro_rules! take {
        ($($variant:ident => $field:ident, $bit:literal;)*) => {
            match name {
                $(FieldName::$variant => {
                    once($bit, stringify!($field))?;
                    raw.$field = map.next_value()?;
                })*
                FieldName::Other(other) => {
                    map.next_value::<IgnoredAny>()?;
                    if reads_like_the_key(&other) {
                        raw.misspelt_key = Some(other);
                    }
                }
            }
        };
    }
    take! {
        V => v, 0;
        Cmd => cmd, 1;
        TaskId => task_id, 2;
        SnsId => sns_id, 3;
        Target => target, 4;
        Author => author, 5;
        ContentHash => content_hash, 6;
        ReplyTo => reply_to, 7;
        Wxid => wxid, 8;
        Provider => provider, 9;
        TraceId => trace_id, 10;
        IdempotencyKey => idempotency_key, 11;
        DeadlineMs => deadline_ms, 12;
        Vars => vars, 13;
        Content => content, 14;
        Comments => comments, 15;
        Concurrency => concurrency, 16;
    }
    Ok(())
}
