//! JSON as others write it: read once, and only if it can be read in one way.

use commentd_delivery::rule_switch::{RuleSwitch, is_on};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Number;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

/// What some servers put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Up to so many names in an object, each is compared with each.
const FEW_NAMES: usize = 16;

/// A JSON text that was read. All its texts stand in one, since a reply is read for each comment, and most of its texts
/// are never looked at.
#[derive(Debug)]
pub struct Json {
    texts: String,
    root: Node,
}

/// A value of it; a range is where its text stands.
#[derive(Debug)]
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(Range<usize>),
    List(Vec<Node>),
    Object(Vec<(Range<usize>, Node)>),
}

/// A part of a JSON text.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    texts: &'a str,
    node: &'a Node,
}

/// Reads a JSON text. A byte order mark before it is skipped; what isn't UTF-8 in its texts is replaced, because
/// nobody may look into those. A name that comes twice in an object would mean one thing to us and another to whoever
/// wrote it, so such a text is read as nothing.
///
/// # Errors
/// Says what is wrong, for people.
pub fn read(text: &[u8]) -> Result<Json, String> {
    read_text(&as_text(text))
}

/// The same as a value of this type.
///
/// # Errors
/// As [`read`], and where it is another type.
pub fn read_as<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let text = as_text(text);
    read_text(&text)?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn as_text(text: &[u8]) -> Cow<'_, str> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    // Almost every text is UTF-8, and this is how that is known soonest.
    std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
}

fn read_text(text: &str) -> Result<Json, String> {
    let mut texts = String::with_capacity(text.len());
    let mut reader = serde_json::Deserializer::from_str(text);
    let root = OneMeaning(&mut texts).deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(Json { texts, root })
}

impl Json {
    /// All of it.
    pub fn whole(&self) -> Part<'_> {
        Part { texts: &self.texts, node: &self.root }
    }

    /// Whether it is an object or a list.
    pub fn is_composed(&self) -> bool {
        matches!(self.root, Node::Object(_) | Node::List(_))
    }
}

impl<'a> Part<'a> {
    /// What stands at this path of names and numbers.
    pub fn at<'b>(self, path: impl IntoIterator<Item = &'b str>) -> Option<Part<'a>> {
        path.into_iter().try_fold(self, |part, name| {
            let node = match part.node {
                Node::List(items) => items.get(name.parse::<usize>().ok()?),
                Node::Object(entries) => {
                    entries.iter().find(|(own, _)| part.text_in(own) == name).map(|(_, node)| node)
                }
                _ => None,
            };
            node.map(|node| Part { node, ..part })
        })
    }

    fn text_in(self, place: &Range<usize>) -> &'a str {
        self.texts.get(place.clone()).unwrap_or_default()
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let part = |node| Part { node, ..*self };
        match self.node {
            Node::Null => out.serialize_unit(),
            Node::Bool(truth) => out.serialize_bool(*truth),
            Node::Number(number) => number.serialize(out),
            Node::Text(place) => out.serialize_str(self.text_in(place)),
            Node::List(items) => out.collect_seq(items.iter().map(part)),
            Node::Object(entries) => {
                let mut map = out.serialize_map(Some(entries.len()))?;
                for (name, node) in entries {
                    map.serialize_entry(self.text_in(name), &part(node))?;
                }
                map.end()
            }
        }
    }
}

/// Any value in which no object names anything twice. Its texts are added to this one.
struct OneMeaning<'t>(&'t mut String);

impl<'de> DeserializeSeed<'de> for OneMeaning<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Node, D::Error> {
        reader.deserialize_any(self)
    }
}

/// Numbers.
macro_rules! numbers {
    ($($visit:ident($kind:ty)),*) => {
        $(fn $visit<E: Error>(self, value: $kind) -> Result<Node, E> {
            Ok(Node::Number(value.into()))
        })*
    };
}

impl<'de> Visitor<'de> for OneMeaning<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    numbers!(visit_i64(i64), visit_u64(u64));

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        let start = self.0.len();
        self.0.push_str(value);
        Ok(Node::Text(start..self.0.len()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut reader: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = reader.next_element_seed(OneMeaning(self.0))? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut reader: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(Range<usize>, Node)> = Vec::new();
        while let Some(name) = reader.next_key_seed(OneMeaning(self.0))? {
            let Node::Text(name) = name else { return Err(Error::custom("a name that is no text")) };
            entries.push((name, reader.next_value_seed(OneMeaning(self.0))?));
        }
        if let Some(name) = twice(self.0, &entries) {
            if is_on(RuleSwitch::RepeatedNamesProveNothing) {
                return Err(Error::custom(format!("{name:?} comes twice in one object")));
            }
            // The last one counts, as most readers have it.
            entries.reverse();
        }
        Ok(Node::Object(entries))
    }
}

/// A name that comes twice.
fn twice<'t>(texts: &'t str, entries: &[(Range<usize>, Node)]) -> Option<&'t str> {
    let mut names = entries.iter().filter_map(|(name, _)| texts.get(name.clone()));
    if entries.len() <= FEW_NAMES {
        while let Some(name) = names.next() {
            if names.clone().any(|other| other == name) {
                return Some(name);
            }
        }
        return None;
    }
    let mut seen = HashSet::with_capacity(entries.len());
    names.find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn value(text: &[u8]) -> Result<Value, String> {
        read(text).map(|json| serde_json::to_value(json.whole()).unwrap())
    }

    #[test]
    fn of_many_names_none_may_come_twice_either() {
        let names = |count: usize| (0..count).map(|n| format!("\"n{n}\":{n}")).collect::<Vec<_>>().join(",");
        for count in [FEW_NAMES, FEW_NAMES + 1, 1000] {
            let json = read(format!("{{{}}}", names(count)).as_bytes()).unwrap();
            let last = json.whole().at([format!("n{}", count - 1).as_str()]).unwrap();
            assert_eq!(serde_json::to_value(last).unwrap(), count - 1);
            let error = read(format!("{{{},\"n3\":0}}", names(count)).as_bytes()).unwrap_err();
            assert!(error.contains("\"n3\" comes twice"), "{error}");
        }
    }

    #[test]
    fn what_is_read_as_a_type_is_read_as_strictly() {
        assert_eq!(read_as::<Vec<u8>>(b"[1,2]"), Ok(vec![1, 2]));
        assert!(read_as::<Vec<u8>>(b"{}").is_err());
        assert!(read_as::<Value>(br#"{"a":1,"a":1}"#).is_err());
    }

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
        let number = |text: &[u8]| value(text).unwrap()["a"].as_u64();
        assert_eq!(number(b"\xef\xbb\xbf{\"a\":18446744073709551615}"), Some(u64::MAX));
        assert_eq!(number(b"{\"a\":1,\"b\":\"\xb3\xc9\xb9\xa6\"}"), Some(1));
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(text in r#"[\[\]{},:"ab01 .eu\\tn-]{0,24}"#) {
            // Where both read something; ours reads less, but never anything else.
            if let Ok(value) = value(text.as_bytes()) {
                prop_assert_eq!(Some(value), serde_json::from_str(&text).ok());
            }
        }
    }
}
