//! Where in its file a key of a manifest stands, so that an error can point there.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The line (from 1) of a key such as `send.body.items[0].id`, or of the part of it that is there; `None` if not even
/// its first part is.
pub(crate) fn line_of(text: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut here: Option<&Spanned<DeValue<'_>>> = None;
    for step in key.replace('[', ".[").split('.') {
        match step.strip_prefix('[').and_then(|index| index.strip_suffix(']')) {
            Some(index) => {
                let DeValue::Array(items) = here?.get_ref() else { break };
                let Some(item) = index.parse::<usize>().ok().and_then(|index| items.get(index)) else {
                    break;
                };
                found = Some(item.span().start);
                here = Some(item);
            }
            None => {
                let table = match here.map(Spanned::get_ref) {
                    None => table.get_ref(),
                    Some(DeValue::Table(table)) => table,
                    Some(_) => break,
                };
                let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == step) else {
                    break;
                };
                found = Some(name.span().start);
                here = Some(value);
            }
        }
    }
    found.map(|offset| line_at(text, offset))
}

/// The line (from 1) at this offset in bytes.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// What is wrong with the TOML itself or its types, in one line, and on which.
pub(crate) fn explain(text: &str, error: &toml::de::Error) -> (Option<usize>, String) {
    let line = error.span().map(|span| line_at(text, span.start));
    let written = line.and_then(|line| text.lines().nth(line - 1)).map(str::trim).unwrap_or_default();
    let message = error.message().replace('\n', " ");
    let seen = if written.is_empty() { String::new() } else { format!(" (in: {written})") };
    (line, format!("{message}{seen}"))
}

/// The key at the beginning of a message such as `auth.name: is missing`.
pub(crate) fn key_of(message: &str) -> Option<&str> {
    let (key, _) = message.split_once(": ")?;
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']');
    key.chars().all(is_key).then_some(key)
}

#[cfg(test)]
#[test]
fn keys_are_found_where_they_stand() {
    let text = "a = 1\n[send]\nmethod = \"POST\"\n[send.body]\nx = [{ y = 1 }]\n\n[[verdict]]\nis = \"a\"\n[[verdict]]\nis = \"b\"\n";
    assert_eq!(line_of(text, "send.method"), Some(3));
    assert_eq!(line_of(text, "send.body.x[0].y"), Some(5));
    assert_eq!(line_of(text, "verdict[1].is"), Some(10));
    assert_eq!(line_of(text, "send.path"), Some(2), "where it is missing");
    assert_eq!(line_of(text, "nothing"), None);
    assert_eq!(key_of("verdict[1].when: `x`: bad"), Some("verdict[1].when"));
    assert_eq!(key_of("says: nothing of: keys").map(str::len), Some(4));
    assert_eq!(key_of("no key here"), None);
}
