//! One value out of a JSON text, read without making anything of the rest.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// What stands at this path; `None` if nothing does, or the text isn't JSON. A name that comes twice counts the last
/// time, as it does where the whole text is read.
pub(super) fn at(json: &[u8], path: &[String]) -> Option<Value> {
    // Whether it is text is found out once, and not for each of its strings. What isn't may still be read: nobody
    // looks into strings that aren't asked for.
    match std::str::from_utf8(json) {
        Ok(json) => read(serde_json::Deserializer::from_str(json), path),
        Err(_) => read(serde_json::Deserializer::from_slice(json), path),
    }
}

fn read<'de, R: serde_json::de::Read<'de>>(
    mut reader: serde_json::Deserializer<R>,
    path: &[String],
) -> Option<Value> {
    let found = Step(path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// What is left of the path.
struct Step<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(reader).map(Some);
        }
        reader.deserialize_any(self)
    }
}

/// Values that nothing can stand below.
macro_rules! nothing_below {
    ($($visit:ident($kind:ty)),*) => {
        $(fn $visit<E: Error>(self, _: $kind) -> Result<Self::Value, E> {
            Ok(None)
        })*
    };
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    nothing_below!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let wanted = self.0.split_first().and_then(|(part, rest)| Some((part.parse::<usize>().ok()?, rest)));
        let mut found = None;
        for index in 0.. {
            match wanted {
                Some((at, rest)) if at == index => match items.next_element_seed(Step(rest))? {
                    Some(value) => found = value,
                    None => break,
                },
                _ if items.next_element::<IgnoredAny>()?.is_none() => break,
                _ => {}
            }
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let Some((wanted, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(is_wanted) = entries.next_key_seed(Is(wanted))? {
            if is_wanted {
                found = entries.next_value_seed(Step(rest))?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a name is this one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    /// The plain way.
    fn in_tree<'a>(mut value: &'a Value, path: &[String]) -> Option<&'a Value> {
        for part in path {
            value = match value {
                Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                Value::Object(entries) => entries.get(part)?,
                _ => return None,
            };
        }
        Some(value)
    }

    #[test]
    fn the_last_of_a_name_counts_and_what_is_broken_has_nothing() {
        assert_eq!(at(br#"{"a":1,"a":{"b":2}}"#, &path("a.b")), Some(2.into()));
        assert_eq!(at(br#"{"a":{"b":2},"a":1}"#, &path("a.b")), None);
        for broken in ["", "{", r#"{"a":1"#, r#"{"a":1} x"#, r#"{"a":1,}"#, r#"{"a":1,"b":tru}"#] {
            assert_eq!(at(broken.as_bytes(), &path("a")), None, "{broken}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab01]", inner, 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_stands_in_the_tree(tree in json(), path in prop::collection::vec("[ab012]", 0..4)) {
            let text = tree.to_string();
            let tree: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(at(text.as_bytes(), &path), in_tree(&tree, &path).cloned());
        }
    }
}
