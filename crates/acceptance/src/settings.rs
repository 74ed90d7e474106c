//! One setting at a time: where it came from, what it says, whether that is allowed.

use crate::error::AcceptError;
use base64::Engine;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;
use url::Url;

/// Largest context file that is read, in bytes.
const MAX_CONTEXT_BYTES: u64 = 64 << 10;
/// Largest file of contents that is read, in bytes.
const MAX_CONTENTS_BYTES: u64 = 16 << 20;

/// The environment, as a function: read once, by whoever owns the process.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value together with what set it.
pub(crate) struct GivenSetting {
    flag: &'static str,
    source: String,
    pub(crate) text: String,
}

impl GivenSetting {
    /// The error that says what this is and what is allowed.
    pub(crate) fn wrong(&self, allowed: &str) -> AcceptError {
        self.refused(format!("is {:?}, {allowed}", self.text))
    }

    /// The same without showing the value.
    pub(crate) fn refused(&self, message: String) -> AcceptError {
        AcceptError::Setting { flag: self.flag, given_by: self.source.clone(), message }
    }

    /// The value as a whole number within `range`.
    pub(crate) fn number(&self, range: RangeInclusive<u64>, unit: &str) -> Result<u64, AcceptError> {
        let number = self.text.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            self.wrong(&format!("must be a whole number, {} to {}{unit}", range.start(), range.end()))
        })
    }

    /// The value as a path of the sidecar, with one leading slash.
    pub(crate) fn path(&self) -> Result<String, AcceptError> {
        let path = format!("/{}", self.text.trim().trim_start_matches('/'));
        let clean = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"<>".contains(&byte));
        if clean && path.len() <= 1024 && path.parse::<http::uri::PathAndQuery>().is_ok() {
            return Ok(path);
        }
        Err(self.wrong("must be a path such as /api/comment/batch, percent-encoded, without query"))
    }
}

/// The flag's value, else the variable's; empty ones count as not given.
pub(crate) fn pick(
    flag: &'static str,
    written: Option<String>,
    variable: Option<&'static str>,
    env: Env<'_>,
) -> Option<GivenSetting> {
    let present = |text: &String| !text.trim().is_empty();
    if let Some(text) = written.filter(present) {
        return Some(GivenSetting { flag, source: "from the command line".into(), text });
    }
    let variable = variable?;
    let text = env(variable).filter(present)?;
    Some(GivenSetting { flag, source: format!("from {variable} in the environment"), text })
}

/// A number that only its flag sets.
pub(crate) fn number(
    flag: &'static str,
    written: Option<String>,
    range: RangeInclusive<u64>,
    unit: &str,
    default: u64,
) -> Result<u64, AcceptError> {
    pick(flag, written, None, &|_| None).map_or(Ok(default), |given| given.number(range, unit))
}

/// The sidecar's address, apart from the credentials that may stand in it.
pub(crate) struct BaseUrl {
    pub(crate) url: Url,
    /// For people and reports: credentials as `***`.
    pub(crate) shown: String,
    credentials: Option<(String, String)>,
}

pub(crate) fn base_url(given: Option<GivenSetting>) -> Result<BaseUrl, AcceptError> {
    let given = given.unwrap_or(GivenSetting {
        flag: "--http-base-url",
        source: "the default".into(),
        text: "http://127.0.0.1:19080".into(),
    });
    // The text may hold a password, so no message repeats it.
    let wrong = |what: &str| {
        given.refused(format!("{what}; must be an address such as http://127.0.0.1:19080, without query"))
    };
    let mut url = Url::parse(given.text.trim()).map_err(|error| wrong(&format!("is no URL ({error})")))?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err(wrong(
                "https:// is not spoken here, a sidecar is reached by http:// on this machine",
            ));
        }
        other => return Err(wrong(&format!("{other}: is not spoken here"))),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let credentials = (!url.username().is_empty() || url.password().is_some())
        .then(|| (decoded(url.username()), decoded(url.password().unwrap_or(""))));
    let stripped = url.set_username("").and_then(|()| url.set_password(None));
    stripped.map_err(|()| wrong("has credentials that can't be taken out of it"))?;
    let mut shown = url.as_str().trim_end_matches('/').to_owned();
    if credentials.is_some() {
        shown = shown.replacen("://", "://***@", 1);
    }
    Ok(BaseUrl { url, shown, credentials })
}

/// The value of the `Authorization` header: the flag, else the first of the variables, else what stood in the
/// address.
pub(crate) fn authorization(
    flag: Option<SecretString>,
    env: Env<'_>,
    base: &BaseUrl,
) -> Result<Option<SecretString>, AcceptError> {
    const FLAG: &str = "--http-authorization";
    let written = flag.map(|secret| secret.expose_secret().to_owned());
    let variable = |name: &'static str| pick(FLAG, None, Some(name), env);
    let given = if let Some(given) = pick(FLAG, written, Some("PYWEIXIN_HTTP_AUTHORIZATION"), env) {
        given
    } else if let Some(given) = variable("PYWEIXIN_HTTP_AUTH_BASIC") {
        let text = basic_of_either(&given.text);
        GivenSetting { text, ..given }
    } else if let Some(user) = variable("PYWEIXIN_HTTP_USER") {
        let password = env("PYWEIXIN_HTTP_PASSWORD").unwrap_or_default();
        let text = basic(user.text.trim(), password.trim());
        GivenSetting { text, ..user }
    } else if let Some((user, password)) = &base.credentials {
        GivenSetting { flag: FLAG, source: "from --http-base-url".into(), text: basic(user, password) }
    } else {
        return Ok(None);
    };
    if HeaderValue::from_str(given.text.trim()).is_err() {
        return Err(given.refused("must be one line of visible characters, as in a header".into()));
    }
    Ok(Some(SecretString::from(given.text.trim().to_owned())))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// Existing scripts keep `user:password` already encoded in this variable; base64 has no colon, so the plain
/// form can be told from it.
fn basic_of_either(text: &str) -> String {
    let text = text.trim();
    match text.split_once(':') {
        Some((user, password)) => basic(user, password),
        None => format!("Basic {}", text.strip_prefix("Basic ").unwrap_or(text).trim()),
    }
}

/// A file that names a target. The second names are those of the older tool's context files.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct TargetContext {
    sns_id: String,
    latest_sns_id: String,
    author: String,
    target_author: String,
    pub(crate) content_hash: String,
    pub(crate) reply_to: String,
}

impl TargetContext {
    /// Reads the file that this flag names.
    pub(crate) fn read(flag: &'static str, path: &Path) -> Result<Self, AcceptError> {
        let bytes = read_file(flag, path, MAX_CONTEXT_BYTES)?;
        // By way of a map: a struct of defaults would accept an array, too.
        let fields = serde_json::from_slice::<serde_json::Map<_, _>>(&bytes);
        let context = fields.and_then(|fields| serde_json::from_value(fields.into()));
        context.map_err(|error| AcceptError::File {
            flag,
            path: path.to_owned(),
            message: format!(
                "{error}; must be a JSON object with the texts sns_id, author, content_hash, reply_to"
            ),
        })
    }

    pub(crate) fn target(&self) -> String {
        first_given([&self.sns_id, &self.latest_sns_id])
    }

    pub(crate) fn author(&self) -> String {
        first_given([&self.author, &self.target_author])
    }
}

fn first_given(texts: [&String; 2]) -> String {
    texts.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default()
}

/// The texts of `--contents-file`, each at most `max_bytes` of UTF-8.
pub(crate) fn contents(path: &Path, max_bytes: usize) -> Result<Vec<String>, AcceptError> {
    let flag = "--contents-file";
    let wrong = |message: String| AcceptError::File { flag, path: path.to_owned(), message };
    let bytes = read_file(flag, path, MAX_CONTENTS_BYTES)?;
    let texts: Vec<String> = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(format!("{error}; must be a JSON array of texts")))?;
    if texts.is_empty() {
        return Err(wrong("is an empty array; must have at least one text".into()));
    }
    if let Some(index) = texts.iter().position(|text| text.len() > max_bytes) {
        return Err(wrong(format!("text {} is too long; at most {max_bytes} bytes each", index + 1)));
    }
    Ok(texts)
}

fn read_file(flag: &'static str, path: &Path, max_bytes: u64) -> Result<Vec<u8>, AcceptError> {
    let wrong = |message: String| AcceptError::File { flag, path: path.to_owned(), message };
    let file = std::fs::File::open(path).map_err(|error| wrong(format!("can't be opened: {error}")))?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(format!("can't be read: {error}")))?;
    if bytes.len() as u64 > max_bytes {
        return Err(wrong(format!("is too large; at most {max_bytes} bytes")));
    }
    Ok(bytes)
}
