//! Where a sidecar is, and what it is shown: as flags and environment give it.

use crate::error::AcceptError;
use crate::settings::{self, Env, pick};
use secrecy::SecretString;
use url::Url;

const FLAG: &str = "--http-base-url";
const VARIABLE: &str = "PYWEIXIN_HTTP_BASE_URL";

/// A sidecar's address.
#[derive(Clone, Debug)]
pub struct Address {
    /// Without credentials, query and fragment.
    pub url: Url,
    /// The same for people: credentials that were given in it as `***`.
    pub shown: String,
    /// The value of the `Authorization` header, whichever setting it came from.
    pub authorization: Option<SecretString>,
}

/// The address that the flag, else `PYWEIXIN_HTTP_BASE_URL`, gives; empty counts as not given.
pub fn given_base_url(flag: Option<String>, env: Env<'_>) -> Option<String> {
    pick(FLAG, flag, Some(VARIABLE), env).map(|given| given.text)
}

/// What stands on the command line though it is secret, and where it should stand.
pub fn secrets_on_command_line(base_url: Option<&str>, authorization: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |what: &str, variable: &str| {
        warnings.push(format!("{what} is visible to other users of this machine; set {variable} instead"));
    };
    if base_url.is_some_and(|url| url.contains('@')) {
        warn(&format!("the password in {FLAG}"), VARIABLE);
    }
    if authorization {
        warn("--http-authorization", "PYWEIXIN_HTTP_AUTHORIZATION");
    }
    warnings
}

impl Address {
    /// The address with the credentials of `--http-authorization`, else of the `PYWEIXIN_HTTP_…` variables, else
    /// of the address itself.
    ///
    /// # Errors
    /// [`AcceptError::Setting`], which names the flag and what is allowed.
    pub fn check(
        base_url: Option<String>,
        authorization: Option<SecretString>,
        env: Env<'_>,
    ) -> Result<Self, AcceptError> {
        let base = settings::base_url(pick(FLAG, base_url, Some(VARIABLE), env))?;
        let authorization = settings::authorization(authorization, env, &base)?;
        Ok(Self { url: base.url, shown: base.shown, authorization })
    }
}
