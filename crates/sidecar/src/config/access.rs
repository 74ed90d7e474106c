//! Where the sidecar listens, and who may call it.

use super::entry::SettingEntry;
use super::error::ConfigError;
use super::findings::Findings;
use super::kind::{Kind, parts};
use super::layers::Written;
use super::settings::Settings;
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

pub(super) fn listen(settings: &Settings, findings: &mut Findings) -> Listen {
    let text = settings.host.get();
    let host = host(text).unwrap_or_else(|| {
        let quoted = Kind::Text.quoted(text);
        findings
            .error(&settings.host, format!("must be an address or a host name without port, is {quoted}"));
        // Only for the checks that follow; the error above ends the matter.
        "localhost".to_owned()
    });
    Listen { host, port: settings.port.get() }
}

pub(super) fn allowed_hosts(settings: &Settings, findings: &mut Findings) -> Vec<String> {
    let mut hosts = Vec::new();
    for part in parts(settings.allowed_host.get()) {
        match host(part) {
            Some(host) => hosts.push(host),
            None => {
                let quoted = Kind::Text.quoted(part);
                findings
                    .error(&settings.allowed_host, format!("must be host names without port, has {quoted}"));
            }
        }
    }
    hosts
}

/// Those who may call, and whether that goes with where the sidecar listens.
pub(super) fn callers(settings: &Settings, findings: &mut Findings, listen: &Listen) -> Vec<Caller> {
    let callers = with_credentials(settings, findings);
    let anonymous = settings.allow_anonymous.get();
    let wants_auth = credentials(settings).iter().any(|entry| entry.is_given());
    if !listen.is_loopback() && !wants_auth && !anonymous {
        findings.error(
            &settings.host,
            format!(
                "is {}, which other machines may reach, and there is no auth; give --auth-user with \
                 COMMENTD_AUTH_PASSWORD, or COMMENTD_AUTH_BEARER, or listen on 127.0.0.1, or give \
                 --allow-anonymous if whoever reaches the port may comment",
                listen.host
            ),
        );
    }
    if anonymous && wants_auth {
        findings.in_vain(&settings.allow_anonymous, "auth is configured, and every call needs it");
    } else if anonymous && listen.is_loopback() {
        findings
            .in_vain(&settings.allow_anonymous, &format!("{} is loopback, which needs no auth", listen.host));
    }
    callers
}

impl Written {
    /// Those who may call, checked alone: for commands that are clients of a sidecar with these settings.
    ///
    /// # Errors
    /// As [`Written::check`], as far as it concerns the callers.
    pub fn check_callers(&self) -> Result<Vec<Caller>, Vec<ConfigError>> {
        let mut findings = Findings::of(credentials(&self.settings));
        let callers = with_credentials(&self.settings, &mut findings);
        findings.unless_wrong(callers)
    }
}

/// The settings that say who may call.
fn credentials(settings: &Settings) -> [&SettingEntry; 3] {
    [&settings.auth_user, &settings.auth_password, &settings.auth_bearer]
}

fn with_credentials(settings: &Settings, findings: &mut Findings) -> Vec<Caller> {
    let mut callers: Vec<Caller> = basic(settings, findings).into_iter().collect();
    bearers(settings, findings, &mut callers);
    callers
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c == ':')
}

fn basic(settings: &Settings, findings: &mut Findings) -> Option<Caller> {
    let (user, password) = (settings.auth_user.get(), settings.auth_password.get());
    match (user.is_empty(), password.is_empty()) {
        (true, true) => return None,
        (false, true) => {
            findings.missing(
                &settings.auth_password,
                &format!("--auth-user {} needs a password", Kind::Text.quoted(user)),
            );
            return None;
        }
        (true, false) => {
            findings.missing(&settings.auth_user, "--auth-password needs the name of its user");
            return None;
        }
        (false, false) => {}
    }
    if !is_name(user) {
        findings.error(&settings.auth_user, format!("must have 1 to {MAX_NAME_BYTES} bytes, and no colon"));
        return None;
    }
    let credential = Credential::Basic { user: user.to_owned(), password: password.into() };
    Some(Caller { name: user.to_owned(), credential })
}

fn bearers(settings: &Settings, findings: &mut Findings, callers: &mut Vec<Caller>) {
    for (index, part) in parts(settings.auth_bearer.get()).enumerate() {
        match bearer(part, callers) {
            Ok(caller) => callers.push(caller),
            // No message shows the part: all of it may be the token.
            Err(message) => findings.error(&settings.auth_bearer, format!("{message} (entry {})", index + 1)),
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
