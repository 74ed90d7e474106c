//! Lists in which somebody wrote what can't be read: half a surrogate pair, bytes that are no text. One of them must not
//! make all the others unreadable.

use bytes::Bytes;
use std::ops::RangeInclusive;

const HIGH: RangeInclusive<u16> = 0xd800..=0xdbff;
const LOW: RangeInclusive<u16> = 0xdc00..=0xdfff;
/// An escape: a backslash, `u` and four digits.
const ESCAPE_LEN: usize = 6;

/// The body with what can't be read replaced by U+FFFD; `None` if there is nothing to replace.
pub(crate) fn repaired(body: &Bytes) -> Option<Bytes> {
    let text = String::from_utf8_lossy(body);
    let repaired = without_half_pairs(text.as_bytes());
    match repaired {
        Some(repaired) => Some(repaired.into()),
        None if matches!(text, std::borrow::Cow::Owned(_)) => Some(text.into_owned().into()),
        None => None,
    }
}

/// The JSON with each escape of half a pair replaced by that of U+FFFD; `None` if there is none.
fn without_half_pairs(json: &[u8]) -> Option<Vec<u8>> {
    let mut repaired: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(rest) = json.get(at..) {
        let Some(next) = rest.iter().position(|byte| *byte == b'\\') else { break };
        at += next;
        let Some(unit) = escaped(json, at) else {
            // Another escape, which may be that of a backslash.
            at += 2;
            continue;
        };
        let is_pair = HIGH.contains(&unit)
            && escaped(json, at + ESCAPE_LEN).is_some_and(|second| LOW.contains(&second));
        if is_pair {
            at += ESCAPE_LEN;
        } else if HIGH.contains(&unit) || LOW.contains(&unit) {
            let repaired = repaired.get_or_insert_with(|| json.to_vec());
            // Of the same length, so that places in both are the same.
            if let Some(place) = repaired.get_mut(at..at + ESCAPE_LEN) {
                place.copy_from_slice(b"\\ufffd");
            }
        }
        at += ESCAPE_LEN;
    }
    repaired
}

/// The number of the escape that begins here.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE_LEN)?.strip_prefix(b"\\u")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired_text(json: &[u8]) -> Option<String> {
        repaired(&Bytes::copy_from_slice(json)).map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn half_a_pair_is_replaced_and_all_else_stays() {
        for (broken, whole) in [
            (r#"["\ud83d"]"#, r#"["\ufffd"]"#),
            (r#"["\uDE00 x"]"#, r#"["\ufffd x"]"#),
            (r#"["\ud83d\ud83d\ude00"]"#, r#"["\ufffd\ud83d\ude00"]"#),
            (r#"["\ud83d\n\ude00"]"#, r#"["\ufffd\n\ufffd"]"#),
            (r#"["\\\ud83d"]"#, r#"["\\\ufffd"]"#),
        ] {
            assert_eq!(repaired_text(broken.as_bytes()).as_deref(), Some(whole));
            assert!(serde_json::from_str::<serde_json::Value>(whole).is_ok());
        }
        for whole in [r#"["\ud83d\ude00"]"#, r#"["\\ud83d"]"#, r#"["a\\"]"#, "\\", "\\ud8", "", "[1]"] {
            assert_eq!(repaired_text(whole.as_bytes()), None, "{whole}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(repaired_text(b"[\"a\xff\"]").as_deref(), Some("[\"a\u{fffd}\"]"));
        assert_eq!(repaired_text(b"[\"\xff\\ud800\"]").as_deref(), Some("[\"\u{fffd}\\ufffd\"]"));
    }
}
