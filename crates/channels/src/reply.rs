//! A channel's HTTP reply, read whole.

use crate::json;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most of the channel's own words that are kept, in characters.
const MOST_WORDS: usize = 500;
/// Most places at which JSON is looked for in a reply that has something before it.
const MOST_STARTS: usize = 20;

/// A reply that was read whole. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelReply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: ReplyHeaders,
    /// The body.
    pub body: Bytes,
}

/// The headers of a reply. Of one that comes more than once, the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyHeaders(Arc<HeaderMap>);

impl ReplyHeaders {
    /// The value under this name in lower case, what isn't UTF-8 in it replaced.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let value = self.0.get_all(name).iter().next_back()?;
        Some(String::from_utf8_lossy(value.as_bytes()))
    }

    /// All of them in order, names in lower case; of one that comes more than once, each.
    pub fn each(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
    }

    /// All of them, names in lower case.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        self.0.iter().map(pair).collect()
    }
}

impl From<HeaderMap> for ReplyHeaders {
    fn from(headers: HeaderMap) -> Self {
        Self(Arc::new(headers))
    }
}

/// What can't be a header is left out.
impl FromIterator<(String, String)> for ReplyHeaders {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        let header = |(name, value): (String, String)| {
            Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_bytes(value.as_bytes()).ok()?,
            ))
        };
        Self(Arc::new(pairs.into_iter().filter_map(header).collect()))
    }
}

impl ChannelReply {
    /// The body as text, without a byte order mark.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()
    }

    /// What the body is written in, as far as it can be told, where that isn't UTF-8.
    pub(crate) fn charset(&self) -> Option<String> {
        if std::str::from_utf8(&self.body).is_ok() {
            return None;
        }
        let kind = self.headers.get("content-type").unwrap_or_default().to_ascii_lowercase();
        let named = kind.split(';').filter_map(|part| part.trim().strip_prefix("charset=")).next();
        let named =
            named.map(|name| name.trim_matches('"').to_owned()).filter(|name| !name.starts_with("utf-8"));
        Some(named.unwrap_or_else(|| guessed_charset(&self.body).to_owned()))
    }

    /// Why the body can't be read as JSON, for people; `None` if it can, or if there is nothing to say.
    pub(crate) fn why_unreadable(&self) -> Option<String> {
        let error = json::read(&self.body).err()?;
        if let Some(charset) = self.charset() {
            return Some(format!("not UTF-8, but {charset}"));
        }
        let text = self.text();
        let text = text.trim();
        if text.is_empty() {
            return Some("an empty body".into());
        }
        if text.starts_with(['{', '[']) {
            return Some(format!("its JSON can't be read: {error}"));
        }
        let ends_as_json = text
            .match_indices(['{', '['])
            .take(MOST_STARTS)
            .any(|(start, _)| text.get(start..).is_some_and(|rest| json::read(rest.as_bytes()).is_ok()));
        Some(if ends_as_json {
            "its JSON has something before it, which somebody must switch off: a notice of PHP, a comment"
                .into()
        } else {
            "not JSON".into()
        })
    }
}

/// What a text that isn't UTF-8 looks like.
fn guessed_charset(text: &[u8]) -> &'static str {
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") || text.get(1) == Some(&0) {
        return "UTF-16";
    }
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return "perhaps GBK",
            [0..=0x7f, rest @ ..] => rest,
            [0x81..=0xfe, 0x40..=0x7e | 0x80..=0xfe, rest @ ..] => rest,
            _ => return "an unknown charset",
        };
    }
}

/// The first words of what the channel said, on one line.
pub fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST_WORDS {
        return line;
    }
    line.chars().take(MOST_WORDS).chain(std::iter::once('…')).collect()
}
