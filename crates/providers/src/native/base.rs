//! The channel's base URL, checked once.

use base64::Engine;
use commentd_channels::settings::redacted;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use url::Url;

/// Where the channel is. Userinfo and query never appear in what it shows.
#[derive(Clone)]
pub struct BaseUrl {
    host: String,
    port: u16,
    tls: bool,
    authority: String,
    path: String,
    basic: Option<HeaderValue>,
    /// What a server might repeat of the userinfo: the password, and how it goes over the wire.
    secrets: [SecretString; 2],
}

/// Why a text is no base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrlError(String);

impl BaseUrlError {
    pub(super) fn new(message: String) -> Self {
        Self(message)
    }
}

impl fmt::Display for BaseUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BaseUrlError {}

impl BaseUrl {
    /// Reads `http://host[:port][/path]` or the same with `https`. Userinfo becomes a Basic `Authorization`.
    ///
    /// # Errors
    /// Says what is missing or not allowed.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let failed = |message: &str| BaseUrlError(message.to_owned());
        let url = Url::parse(text.trim()).map_err(|error| {
            BaseUrlError(format!("must be like http://127.0.0.1:8080, isn't a URL: {error}"))
        })?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => {
                return Err(BaseUrlError(format!(
                    "must start with http:// or https://, starts with {other}:"
                )));
            }
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(failed(
                "must not have a query or a fragment; those belong in the channel's manifest",
            ));
        }
        let host = url.host_str().ok_or_else(|| failed("must name a host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| failed("must name a port"))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        let (basic, secrets) = basic(&url);
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port, tls, authority, path, basic, secrets })
    }

    /// The host, IPv6 addresses in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is `https`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn basic(&self) -> Option<HeaderValue> {
        self.basic.clone()
    }

    /// Replaces what is secret in the userinfo by `***`.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| redacted(text, secret.expose_secret()))
    }

    /// Scheme and authority.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// Without userinfo and query: what people and the ledger see.
    pub fn shown(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    pub(super) fn join(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.path)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// The header that the userinfo becomes, and its secrets.
fn basic(url: &Url) -> (Option<HeaderValue>, [SecretString; 2]) {
    if url.username().is_empty() && url.password().is_none() {
        return (None, Default::default());
    }
    let decode =
        |context: &str| percent_encoding::percent_decode_str(context).decode_utf8_lossy().into_owned();
    let password = decode(url.password().unwrap_or_default());
    let credentials = format!("{}:{password}", decode(url.username()));
    let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok();
    if let Some(value) = &mut value {
        value.set_sensitive(true);
    }
    (value, [encoded.into(), password.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_see_has_no_credentials() {
        let base = BaseUrl::parse("https://u%40x:p%20w@example.org:8443/base/").unwrap();
        assert_eq!(base.shown(), "https://example.org:8443/base");
        assert_eq!(base.join("/new?a=b"), "/base/new?a=b");
        assert_eq!(base.basic().unwrap().to_str().unwrap(), "Basic dUB4OnAgdw==");
        assert_eq!(format!("{base:?}"), "https://example.org:8443/base");
        assert_eq!(base.redact("bad: Basic dUB4OnAgdw== (p w)"), "bad: Basic *** (***)");
        assert_eq!(BaseUrl::parse("http://h").unwrap().redact("as it is"), "as it is");
        for bad in ["", "example.org", "ftp://example.org", "http://h/?k=v", "http://"] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
