//! Where the sidecar listens, and who may call it.

use super::error::ConfigError;
use super::kind::{Kind, parts};
use super::layers::Written;
use super::values::Values;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::net::IpAddr;

/// Longest name of a caller, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// Longest host name, in bytes.
const MAX_HOST_BYTES: usize = 253;

/// Where the sidecar listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// An address or a host name, IPv6 without brackets.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl Listen {
    /// Whether only this machine can reach it. A host name other than `localhost` may be anywhere.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }
}

impl fmt::Display for Listen {
    /// `host:port`, IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Who may call. A key belongs to the caller's name.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its name, 1–64 bytes; no two callers share one.
    pub name: String,
    /// What it shows.
    pub credential: Credential,
}

/// What a caller shows to be let in.
#[derive(Clone, Debug)]
pub enum Credential {
    /// HTTP Basic.
    Basic {
        /// The user's name.
        user: String,
        /// The password, never empty.
        password: SecretString,
    },
    /// A bearer token.
    Bearer {
        /// The token: visible ASCII, never empty; no two callers share one.
        token: SecretString,
    },
}

/// A host without port, in lower case, IPv6 without brackets.
fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let allowed = bare.parse::<IpAddr>().is_ok()
        || (bare == text && !text.is_empty() && text.len() <= MAX_HOST_BYTES && name(text));
    allowed.then(|| bare.to_ascii_lowercase())
}

pub(super) fn listen(values: &mut Values<'_>) -> Listen {
    let text = values.text("host");
    let host = host(text).unwrap_or_else(|| {
        let quoted = Kind::Text.quoted(text);
        values.error("host", format!("must be an address or a host name without port, is {quoted}"));
        // Only for the checks that follow; the error above ends the matter.
        "localhost".to_owned()
    });
    Listen { host, port: u16::try_from(values.integer("port")).unwrap_or_default() }
}

pub(super) fn allowed_hosts(values: &mut Values<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for part in parts(values.text("allowed-host")) {
        match host(part) {
            Some(host) => hosts.push(host),
            None => {
                let quoted = Kind::Text.quoted(part);
                values.error("allowed-host", format!("must be host names without port, has {quoted}"));
            }
        }
    }
    hosts
}

/// Those who may call, and whether that goes with where the sidecar listens.
pub(super) fn callers(values: &mut Values<'_>, listen: &Listen) -> Vec<Caller> {
    let mut callers = Vec::new();
    callers.extend(basic(values));
    bearers(values, &mut callers);
    let anonymous = values.switch("allow-anonymous");
    let wants_auth = ["auth-user", "auth-password", "auth-bearer"].iter().any(|name| values.is_given(name));
    if !listen.is_loopback() && !wants_auth && !anonymous {
        values.error(
            "host",
            format!(
                "is {}, which other machines may reach, and there is no auth; give --auth-user with \
                 COMMENTD_AUTH_PASSWORD, or COMMENTD_AUTH_BEARER, or listen on 127.0.0.1, or give \
                 --allow-anonymous if whoever reaches the port may comment",
                listen.host
            ),
        );
    }
    if anonymous && wants_auth {
        values.in_vain("allow-anonymous", "auth is configured, and every call needs it");
    } else if anonymous && listen.is_loopback() {
        values.in_vain("allow-anonymous", &format!("{} is loopback, which needs no auth", listen.host));
    }
    callers
}

impl Written {
    /// Those who may call, checked alone: for commands that are clients of a sidecar with these settings.
    ///
    /// # Errors
    /// As [`Written::check`], as far as it concerns the callers.
    pub fn check_callers(&self) -> Result<Vec<Caller>, Vec<ConfigError>> {
        let mut values = Values::new(self, |setting| setting.name.starts_with("auth-"));
        let mut callers = Vec::new();
        callers.extend(basic(&mut values));
        bearers(&mut values, &mut callers);
        if values.findings.errors.is_empty() { Ok(callers) } else { Err(values.findings.errors) }
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c == ':')
}

fn basic(values: &mut Values<'_>) -> Option<Caller> {
    let (user, password) = (values.text("auth-user"), values.text("auth-password"));
    match (user.is_empty(), password.is_empty()) {
        (true, true) => return None,
        (false, true) => {
            values.missing(
                "auth-password",
                &format!("--auth-user {} needs a password", Kind::Text.quoted(user)),
            );
            return None;
        }
        (true, false) => {
            values.missing("auth-user", "--auth-password needs the name of its user");
            return None;
        }
        (false, false) => {}
    }
    if !is_name(user) {
        values.error("auth-user", format!("must have 1 to {MAX_NAME_BYTES} bytes, and no colon"));
        return None;
    }
    let credential = Credential::Basic { user: user.to_owned(), password: password.into() };
    Some(Caller { name: user.to_owned(), credential })
}

fn bearers(values: &mut Values<'_>, callers: &mut Vec<Caller>) {
    for (index, part) in parts(values.text("auth-bearer")).enumerate() {
        match bearer(part, callers) {
            Ok(caller) => callers.push(caller),
            // No message shows the part: all of it may be the token.
            Err(message) => values.error("auth-bearer", format!("{message} (entry {})", index + 1)),
        }
    }
}

fn bearer(part: &str, others: &[Caller]) -> Result<Caller, String> {
    let (name, token) = part.split_once('=').ok_or("must be NAME=TOKEN[,NAME=TOKEN]")?;
    let (name, token) = (name.trim(), token.trim());
    if !is_name(name) {
        return Err(format!("must give a name of 1 to {MAX_NAME_BYTES} bytes, without colon, before the ="));
    }
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must give a token of visible ASCII after the =".into());
    }
    if others.iter().any(|other| other.name == name) {
        return Err("must not name a caller twice: keys belong to the name".into());
    }
    let same = |other: &Caller| match &other.credential {
        Credential::Bearer { token: known } => known.expose_secret() == token,
        Credential::Basic { .. } => false,
    };
    if others.iter().any(same) {
        return Err("must not give two callers the same token: they couldn't be told apart".into());
    }
    Ok(Caller { name: name.to_owned(), credential: Credential::Bearer { token: token.into() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_the_rest() {
        let is_loopback = |text: &str| Listen { host: host(text).unwrap(), port: 0 }.is_loopback();
        for near in ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST", "::ffff:127.0.0.1"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in ["0.0.0.0", "::", "192.168.1.1", "example.org", "localhost.example.org", "127.1"] {
            assert!(!is_loopback(far), "{far}");
        }
        for no_host in ["", "a b", "127.0.0.1:80", "http://h", "[h]", "a,b"] {
            assert_eq!(host(no_host), None, "{no_host}");
        }
        assert_eq!(Listen { host: "::1".into(), port: 1 }.to_string(), "[::1]:1");
    }
}
