//! JSON as others write it: read once, and only if it can be read in one way.

use commentd_delivery::sabotage::{Rule, is_on};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};
use std::fmt;

/// What some servers put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a JSON text. A byte order mark before it is skipped; what isn't UTF-8 in its texts is replaced, because
/// nobody may look into those. A name that comes twice in an object would mean one thing to us and another to whoever
/// wrote it, so such a text is read as nothing.
///
/// # Errors
/// Says what is wrong, for people.
pub(crate) fn read(text: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text));
    let mut reader = serde_json::Deserializer::from_str(&text);
    let value = OneMeaning.deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// What stands at this path of names and numbers.
pub(crate) fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        Value::Object(entries) => entries.get(part),
        _ => None,
    })
}

/// Any value in which no object names anything twice.
struct OneMeaning;

impl<'de> DeserializeSeed<'de> for OneMeaning {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

/// Values with nothing in them.
macro_rules! plain {
    ($($visit:ident($kind:ty)),*) => {
        $(fn $visit<E: Error>(self, value: $kind) -> Result<Value, E> {
            Ok(value.into())
        })*
    };
}

impl<'de> Visitor<'de> for OneMeaning {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    plain!(
        visit_bool(bool),
        visit_i64(i64),
        visit_u64(u64),
        visit_f64(f64),
        visit_str(&str),
        visit_string(String)
    );

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut reader: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = reader.next_element_seed(OneMeaning)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut reader: A) -> Result<Value, A::Error> {
        let mut entries = Map::new();
        while let Some(name) = reader.next_key::<String>()? {
            let value = reader.next_value_seed(OneMeaning)?;
            match entries.entry(name) {
                Entry::Occupied(entry) if is_on(Rule::RepeatedNamesProveNothing) => {
                    return Err(Error::custom(format!("{:?} comes twice in one object", entry.key())));
                }
                Entry::Occupied(mut entry) => {
                    entry.insert(value);
                }
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
            }
        }
        Ok(Value::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_comes_twice_makes_the_whole_text_unreadable() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"ok":false,"data":{"b":1,"b":2},"error_code":52}"#,
            r#"[{"a":{"c":[{"d":1,"e":2,"d":3}]}}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains("comes twice"), "{text}: {error}");
        }
        assert!(read(br#"[{"a":1},{"a":2,"b":{"a":3}}]"#).is_ok());
    }

    #[test]
    fn what_is_broken_is_nothing_and_a_byte_order_mark_is_skipped() {
        for broken in
            ["", "{", r#"{"a":1"#, r#"{"a":1} x"#, r#"{"a":1,}"#, r#"{"a":1,"b":tru}"#, "<!-- x -->{}"]
        {
            assert!(read(broken.as_bytes()).is_err(), "{broken}");
        }
        assert_eq!(read(b"\xef\xbb\xbf{\"a\":18446744073709551615}").unwrap()["a"], u64::MAX);
        assert_eq!(read(b"{\"a\":1,\"b\":\"\xb3\xc9\xb9\xa6\"}").unwrap()["a"], 1);
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(text in r#"[\[\]{},:"ab01 .eu\\tn-]{0,24}"#) {
            // Where both read something; ours reads less, but never anything else.
            if let Ok(value) = read(text.as_bytes()) {
                prop_assert_eq!(Some(value), serde_json::from_str(&text).ok());
            }
        }
    }
}
