//! Who may call, and from where.
//!
//! A web page must not be able to post through loopback: a foreign `Origin` is refused, and so is a `Host` that
//! is a name we don't know, because a name can be made to point here (DNS rebinding) and an address can't.

use super::error::ApiError;
use crate::config::{Caller, Credential};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Paths that need no credentials.
const OPEN: [&str; 3] = ["/health", "/live", "/ready"];

pub(super) struct Access {
    callers: Vec<Caller>,
    allowed_hosts: Vec<String>,
}

impl Access {
    pub(super) fn new(callers: Vec<Caller>, allowed_hosts: Vec<String>) -> Self {
        Self { callers, allowed_hosts }
    }

    /// The name of whoever sent a request with this head, as in [`super::app::Sender`].
    pub(super) fn check(
        &self,
        path: &str,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Arc<str>, ApiError> {
        for name in [HOST, ORIGIN, AUTHORIZATION] {
            if headers.get_all(&name).iter().nth(1).is_some() {
                return Err(ApiError::Malformed(format!("{name} header: is there more than once")));
            }
        }
        if version == Version::HTTP_11 && !headers.contains_key(HOST) {
            return Err(ApiError::Malformed("host header: is missing, and HTTP/1.1 needs one".into()));
        }
        let host = headers.get(HOST).map(HeaderValue::to_str);
        let host = match host {
            None => None,
            Some(Ok(host)) if self.is_ours(host) => Some(host),
            Some(host) => {
                return Err(ApiError::Forbidden(format!(
                    "Host {:?} is not this sidecar: use its address, or allow the name with --allowed-host",
                    host.unwrap_or("(unreadable)")
                )));
            }
        };
        if let Some(origin) = headers.get(ORIGIN) {
            let same = host.is_some_and(|host| origin.as_bytes() == format!("http://{host}").as_bytes());
            if !same {
                let origin = origin.to_str().unwrap_or("(unreadable)");
                return Err(ApiError::Forbidden(format!(
                    "Origin {origin:?} is foreign: web pages may not post here"
                )));
            }
        }
        let known = headers.get(AUTHORIZATION).and_then(|value| self.caller(value));
        match known {
            None if self.callers.is_empty() || OPEN.contains(&path) => Ok(Arc::default()),
            known => known.ok_or(ApiError::Unauthorized),
        }
    }

    /// Addresses, `localhost`, and what was allowed by name; whatever the port, which a forwarded port changes.
    fn is_ours(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
            _ => host,
        };
        let name = name.trim_end_matches('.');
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let is_allowed = |allowed: &String| allowed.eq_ignore_ascii_case(name);
        bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.allowed_hosts.iter().any(is_allowed)
    }

    fn caller(&self, header: &HeaderValue) -> Option<Arc<str>> {
        let header = header.to_str().ok()?;
        let (scheme, rest) = header.split_once(' ')?;
        let rest = rest.trim();
        let presented = match scheme.to_ascii_lowercase().as_str() {
            "basic" => Presented::Basic(String::from_utf8(STANDARD.decode(rest).ok()?).ok()?),
            "bearer" => Presented::Bearer(rest.to_owned()),
            _ => return None,
        };
        // Every caller is compared, so that the time taken doesn't say which one came close.
        let mut found = None;
        for caller in &self.callers {
            if matches(&caller.credential, &presented) {
                found = Some(Arc::from(caller.name.as_str()));
            }
        }
        found
    }
}

enum Presented {
    Basic(String),
    Bearer(String),
}

/// Compares in constant time.
fn matches(credential: &Credential, presented: &Presented) -> bool {
    match (credential, presented) {
        (Credential::Basic { user, password }, Presented::Basic(presented)) => {
            let expected = format!("{user}:{}", password.expose_secret());
            bool::from(expected.as_bytes().ct_eq(presented.as_bytes()))
        }
        (Credential::Bearer { token }, Presented::Bearer(presented)) => {
            bool::from(token.expose_secret().as_bytes().ct_eq(presented.as_bytes()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, headers: &[(&'static str, &str)]) -> Result<String, ApiError> {
        let map = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        access.check("/api/comment", Version::HTTP_10, &map).map(|caller| caller.to_string())
    }

    #[test]
    fn hosts_are_addresses_localhost_or_allowed() {
        let access = Access::new(vec![], vec!["Sidecar.internal".into()]);
        for ours in [
            "127.0.0.1:19080",
            "127.0.0.1",
            "[::1]:19080",
            "localhost:8080",
            "LOCALHOST.",
            "sidecar.internal:1",
        ] {
            assert!(check(&access, &[("host", ours)]).is_ok(), "{ours}");
        }
        for foreign in
            ["evil.example", "evil.example:19080", "127.0.0.1.evil.example", "localhost.evil.example", ""]
        {
            assert!(matches!(check(&access, &[("host", foreign)]), Err(ApiError::Forbidden(_))), "{foreign}");
        }
    }

    #[test]
    fn only_our_own_origin_may_post() {
        let access = Access::new(vec![], vec![]);
        let host = ("host", "127.0.0.1:19080");
        assert!(check(&access, &[host, ("origin", "http://127.0.0.1:19080")]).is_ok());
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:3000", "https://127.0.0.1:19080"] {
            assert!(
                matches!(check(&access, &[host, ("origin", foreign)]), Err(ApiError::Forbidden(_))),
                "{foreign}"
            );
        }
    }

    #[test]
    fn callers_are_told_apart() {
        let basic = Credential::Basic { user: "bot".into(), password: "p:w".to_owned().into() };
        let bearer = Credential::Bearer { token: "t0ken".to_owned().into() };
        let access = Access::new(
            vec![
                Caller { name: "bot".into(), credential: basic },
                Caller { name: "tool".into(), credential: bearer },
            ],
            vec![],
        );
        let encoded = format!("Basic {}", STANDARD.encode("bot:p:w"));
        assert_eq!(check(&access, &[("authorization", &encoded)]).unwrap(), "bot");
        assert_eq!(check(&access, &[("authorization", "bearer t0ken")]).unwrap(), "tool");
        for bad in ["Bearer t0ke", "Bearer", "Basic !!", "Digest x", "Basic dDBrZW4="] {
            assert_eq!(
                check(&access, &[("authorization", bad)]).unwrap_err(),
                ApiError::Unauthorized,
                "{bad}"
            );
        }
        assert_eq!(check(&access, &[]).unwrap_err(), ApiError::Unauthorized);

        let health = |authorization: &str| {
            let headers = [(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())];
            access.check("/health", Version::HTTP_10, &headers.into_iter().collect()).unwrap().to_string()
        };
        assert_eq!((health(&encoded), health("Bearer nonsense")), ("bot".to_owned(), String::new()));
    }
}
