//! Cassettes: exchanges that were recorded, and are replayed without a network.
//!
//! A replay matches a request by what it is for and what it says, without what differs from run to run: the delivery
//! id, times, nonces and secrets, and in the comment's text every word of eight or more hexadecimal digits (a run id).
//! In the recorded reply the recorded id and words are replaced by the replay's own, so that an echo is its echo.
//! Comments that are the same in all this take the recorded exchanges in their order, each once; reads (lookups,
//! tokens, probes) may be more or fewer than recorded, and repeat the last.

use super::failure::{ExchangeError, Side};
use super::har::{
    Har, HarCommentd, HarContent, HarEmpty, HarEntry, HarPair, HarPostData, HarRequest, HarResponse,
    HarTimings,
};
use commentd_channels::{ChannelReply, HttpRequest, TokenCall};
use commentd_delivery::{Clock, DeliveryId, Gate, Moment};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Largest cassette that is read, in bytes (64 MiB).
const MAX_CASSETTE_BYTES: u64 = 64 << 20;
/// Most requests of the cassette that an error names.
const MOST_NAMED: usize = 5;
/// Headers whose values never go into a cassette, beside those that carry our credentials.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "webhook-signature"];
const TAIL: &str = "\n]}}\n";

/// Where exchanges go.
#[derive(Clone, Default)]
pub enum CassetteMode {
    /// To the channel.
    #[default]
    Live,
    /// To the channel, and onto a cassette.
    Record(Arc<CassetteRecorder>),
    /// To a cassette, and nowhere else.
    Replay(Arc<CassettePlayer>),
}

/// What an exchange is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Send,
    Lookup,
    Token,
    Probe,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Purpose::Send => "send",
            Purpose::Lookup => "lookup",
            Purpose::Token => "token",
            Purpose::Probe => "probe",
        }
    }
}

/// What a cassette needs to know of an exchange beside the request.
#[derive(Clone)]
pub(super) struct ExchangeContext<'a> {
    pub(super) purpose: Purpose,
    /// The request without what differs from run to run.
    pub(super) match_key: String,
    pub(super) id: DeliveryId,
    pub(super) placeholders: Vec<String>,
    /// The longest reply that is read, in bytes.
    pub(super) limit: usize,
    /// For a token call: where in the reply the secret is.
    pub(super) token: Option<&'a TokenCall>,
}

/// Makes what is secret unreadable.
pub(super) type Redact = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The text of a request, to be compared.
pub(super) fn match_key(request: &HttpRequest) -> String {
    format!("{} {} {}", request.method, request.path_and_query, String::from_utf8_lossy(&request.body))
        .trim_end()
        .to_owned()
}

/// A comment's text without the words that differ from run to run, and those words.
pub(super) fn without_placeholders(text: &str) -> (String, Vec<String>) {
    let mut same = String::with_capacity(text.len());
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            words.push(word.to_owned());
            same.push('*');
        } else {
            same.push_str(word);
        }
        let separator = after.chars().next().map_or(0, char::len_utf8);
        let (separator, after) = after.split_at(separator);
        same.push_str(separator);
        rest = after;
    }
    (same, words)
}

impl CassetteMode {
    /// A new cassette. What is recorded is in the file as soon as the exchange is over, and the file is whole
    /// after every exchange.
    ///
    /// # Errors
    /// When the file exists already, or can't be made.
    pub fn record(path: &Path) -> Result<Self, String> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let shown = path.display();
        let mut file = options.open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("{shown} exists already; name a new file, or remove this one")
            }
            _ => format!("{shown} can't be made: {error}"),
        })?;
        let creator = format!(r#"{{"name":"commentd","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
        let head = format!(r#"{{"log":{{"version":"1.2","creator":{creator},"entries":["#);
        file.write_all(format!("{head}{TAIL}").as_bytes()).map_err(|error| format!("{shown}: {error}"))?;
        let end = head.len() as u64;
        Ok(Self::Record(Arc::new(CassetteRecorder {
            path: path.to_owned(),
            place: Mutex::new((file, end, 0)),
        })))
    }

    /// A cassette that was recorded. Of one whose recorder was killed while it wrote, the whole exchanges count.
    ///
    /// # Errors
    /// When the file can't be read, or is none.
    pub fn replay(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let size = std::fs::metadata(path).map_err(|error| format!("{shown} can't be read: {error}"))?.len();
        if size > MAX_CASSETTE_BYTES {
            return Err(format!("{shown} is larger than {MAX_CASSETTE_BYTES} bytes"));
        }
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("{shown} can't be read: {error}"))?;
        let entries = match serde_json::from_str::<Har>(&text) {
            Ok(archive) => archive.log.entries,
            Err(error) => {
                let line = |line: &str| serde_json::from_str(line.trim().trim_end_matches(',')).ok();
                let whole: Vec<HarEntry> = text.lines().filter_map(line).collect();
                if whole.is_empty() {
                    return Err(format!("{shown} is no cassette of commentd: {error}"));
                }
                tracing::warn!(cassette = %shown, exchanges = whole.len(), "the cassette is cut off; its whole exchanges are used");
                whole
            }
        };
        Ok(Self::Replay(Arc::new(CassettePlayer::new(path, entries))))
    }
}

/// Writes a cassette: one exchange a line, so that a file that was cut off can still be read.
pub struct CassetteRecorder {
    path: PathBuf,
    /// The file, where its tail begins, and how many exchanges it has.
    place: Mutex<(File, u64, u64)>,
}

/// An exchange that was handed over and whose end is to be recorded. Dropped before, it had none.
pub(super) struct Recording<'a> {
    recorder: Arc<CassetteRecorder>,
    context: ExchangeContext<'a>,
    request: HarRequest,
    redact: Redact,
    clock: Arc<dyn Clock>,
    began: (Moment, u64),
    over: bool,
}

impl<'a> Recording<'a> {
    /// Starts with the request as it goes out.
    pub(super) fn start(
        recorder: &Arc<CassetteRecorder>,
        context: ExchangeContext<'a>,
        origin: &str,
        outgoing: &http::Request<http_body_util::Full<bytes::Bytes>>,
        body: &[u8],
        redact: &Redact,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let headers = outgoing.headers().iter().map(|(name, value)| {
            let secret = value.is_sensitive() || SECRET_HEADERS.contains(&name.as_str());
            let text = String::from_utf8_lossy(value.as_bytes());
            let value = if secret { commentd_channels::settings::REDACTED.into() } else { redact(&text) };
            HarPair { name: name.to_string(), value }
        });
        let mime_type = outgoing.headers().get(http::header::CONTENT_TYPE);
        let mime_type =
            mime_type.map_or_else(String::new, |kind| String::from_utf8_lossy(kind.as_bytes()).into());
        let url = redact(&format!("{origin}{}", outgoing.uri()));
        let request = HarRequest {
            method: outgoing.method().to_string(),
            query_string: url::Url::parse(&url).map_or_else(
                |_| Vec::new(),
                |url| url.query_pairs().map(|(n, v)| HarPair { name: n.into(), value: v.into() }).collect(),
            ),
            url,
            http_version: "HTTP/1.1".into(),
            cookies: Vec::new(),
            headers: headers.collect(),
            post_data: (!body.is_empty())
                .then(|| HarPostData { mime_type, text: redact(&String::from_utf8_lossy(body)) }),
            headers_size: -1,
            body_size: body.len() as i64,
        };
        Self {
            recorder: Arc::clone(recorder),
            context,
            request,
            redact: Arc::clone(redact),
            began: (clock.now(), clock.unix_ms()),
            clock: Arc::clone(clock),
            over: false,
        }
    }

    /// Records how it ended.
    pub(super) fn finish(mut self, ended: Result<&ChannelReply, &ExchangeError>) {
        self.write(ended.map_err(|failure| failure.message.as_str()));
    }

    fn write(&mut self, ended: Result<&ChannelReply, &str>) {
        self.over = true;
        let (response, failed) = match ended {
            Ok(reply) => (self.response(reply), None),
            Err(message) => (no_response(), Some((self.redact)(message))),
        };
        let started = i64::try_from(self.began.1).unwrap_or(i64::MAX);
        let entry = HarEntry {
            started_date_time: jiff::Timestamp::from_millisecond(started).unwrap_or_default().to_string(),
            time: commentd_contract::time::whole_ms(self.clock.now() - self.began.0),
            request: self.request.clone(),
            response,
            cache: HarEmpty {},
            timings: HarTimings::default(),
            ours: HarCommentd {
                purpose: self.context.purpose.as_str().into(),
                match_key: (self.redact)(&self.context.match_key),
                delivery_id: self.context.id.to_string(),
                placeholders: self.context.placeholders.clone(),
                failed,
            },
        };
        if let Err(error) = self.recorder.append(&entry) {
            tracing::error!(cassette = %self.recorder.path.display(), %error, "an exchange could not be recorded");
        }
    }

    fn response(&self, reply: &ChannelReply) -> HarResponse {
        let mut body = (self.redact)(&String::from_utf8_lossy(&reply.body));
        let token = self.context.token.and_then(|call| call.read(reply, self.began.1).ok().flatten());
        if let Some(token) = token {
            body = commentd_channels::settings::redacted(body, token.secret.expose_secret());
        }
        let headers = reply.headers.to_map().into_iter().map(|(name, value)| {
            let secret = SECRET_HEADERS.contains(&name.as_str());
            let value =
                if secret { commentd_channels::settings::REDACTED.into() } else { (self.redact)(&value) };
            HarPair { name, value }
        });
        HarResponse {
            status: reply.status,
            headers: headers.collect(),
            content: HarContent {
                size: reply.body.len() as i64,
                mime_type: reply.headers.get("content-type").unwrap_or_default().into_owned(),
                text: body,
            },
            body_size: reply.body.len() as i64,
            ..no_response()
        }
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.write(Err("nothing came back before the attempt ended"));
        }
    }
}

fn no_response() -> HarResponse {
    HarResponse {
        status: 0,
        status_text: String::new(),
        http_version: "HTTP/1.1".into(),
        cookies: Vec::new(),
        headers: Vec::new(),
        content: HarContent::default(),
        redirect_url: String::new(),
        headers_size: -1,
        body_size: -1,
    }
}

impl CassetteRecorder {
    /// One write for the exchange and the file's end, so that a process that is killed leaves both or neither.
    fn append(&self, entry: &HarEntry) -> std::io::Result<()> {
        let json = serde_json::to_string(entry).map_err(std::io::Error::other)?;
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, end, count) = &mut *place;
        let line = format!("{}\n{json}", if *count == 0 { "" } else { "," });
        file.seek(SeekFrom::Start(*end))?;
        file.write_all(format!("{line}{TAIL}").as_bytes())?;
        *end += line.len() as u64;
        *count += 1;
        Ok(())
    }
}

/// Answers from a cassette.
pub struct CassettePlayer {
    path: PathBuf,
    entries: Vec<HarEntry>,
    state: Mutex<Played>,
}

#[derive(Default)]
struct Played {
    /// The exchanges that are still to be had, by purpose and request.
    left: BTreeMap<(String, String), Vec<usize>>,
    /// Recorded delivery ids and the replay's.
    ids: Vec<(String, String)>,
}

impl CassettePlayer {
    fn new(path: &Path, entries: Vec<HarEntry>) -> Self {
        let mut left: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            left.entry((entry.ours.purpose.clone(), entry.ours.match_key.clone())).or_default().push(index);
        }
        Self { path: path.to_owned(), entries, state: Mutex::new(Played { left, ids: Vec::new() }) }
    }

    /// The recorded end of this exchange.
    pub(super) fn play(
        &self,
        context: &ExchangeContext<'_>,
        redact: &Redact,
        gate: &Gate,
    ) -> Result<ChannelReply, ExchangeError> {
        let match_key = redact(&context.match_key);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = context.id.to_string();
        let Some(entry) = self.take(&mut state, context.purpose, &match_key, &ours) else {
            return Err(ExchangeError {
                side: Side::OffCassette,
                message: self.missing(context.purpose, &match_key),
            });
        };
        if !gate.pass() {
            return Err(ExchangeError::before_gate("cancelled before it was replayed"));
        }
        let recorded = entry.ours.delivery_id.clone();
        if recorded != ours && !state.ids.contains(&(recorded.clone(), ours.clone())) {
            state.ids.push((recorded, ours));
        }
        if let Some(message) = &entry.ours.failed {
            return Err(ExchangeError { side: Side::AfterGate, message: message.clone() });
        }
        let words = entry.ours.placeholders.iter().zip(&context.placeholders);
        let pairs: Vec<(&str, &str)> = words
            .map(|(recorded, ours)| (recorded.as_str(), ours.as_str()))
            .chain(state.ids.iter().map(|(recorded, ours)| (recorded.as_str(), ours.as_str())))
            .collect();
        let own = |text: &str| pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        Ok(ChannelReply {
            status: entry.response.status,
            headers: entry
                .response
                .headers
                .iter()
                .map(|pair| (pair.name.clone(), own(&pair.value)))
                .collect(),
            body: own(&entry.response.content.text).into(),
        })
    }

    fn take(&self, state: &mut Played, purpose: Purpose, match_key: &str, ours: &str) -> Option<&HarEntry> {
        let same = state.ids.iter().find(|(_, id)| id == ours).map(|(recorded, _)| recorded.clone());
        let left = state.left.get_mut(&(purpose.as_str().to_owned(), match_key.to_owned()))?;
        let is_same = |index: &usize| {
            let id = self.entries.get(*index).map(|entry| &entry.ours.delivery_id);
            same.is_some() && id == same.as_ref()
        };
        let position = left.iter().position(is_same).unwrap_or(0);
        let index = *left.get(position)?;
        let others = left.iter().filter(|index| same.is_none() || is_same(index)).count();
        // A read may come more often than it was recorded: then the last answer stands.
        if purpose == Purpose::Send || (left.len() > 1 && others > 1) {
            left.remove(position);
        }
        self.entries.get(index)
    }

    fn missing(&self, purpose: Purpose, match_key: &str) -> String {
        let all = self.entries.iter().filter(|entry| entry.ours.purpose == purpose.as_str());
        let named: Vec<String> =
            all.clone().take(MOST_NAMED).map(|entry| clipped(&entry.ours.match_key)).collect();
        let (count, word) = (all.count(), purpose.as_str());
        let has = match named.len() {
            0 => format!("it has no {word} at all"),
            some if some < count => format!("it has {count} of them, the first are: {}", named.join(" | ")),
            _ => format!("it has: {}", named.join(" | ")),
        };
        format!(
            "the cassette {} has no {word} (left) for: {}; {has}. Record it with --exchange record",
            self.path.display(),
            clipped(match_key)
        )
    }
}

fn clipped(text: &str) -> String {
    let mut short: String = text.chars().take(160).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_words_are_told_from_what_people_write() {
        let (same, words) = without_placeholders("acc-1f00ba44-r01-c02 decade 12345 ünï1234567");
        assert_eq!(same, "acc-*-r01-c02 decade 12345 ünï1234567");
        assert_eq!(words, ["1f00ba44"]);
        assert_eq!(without_placeholders("").0, "");
    }
}
