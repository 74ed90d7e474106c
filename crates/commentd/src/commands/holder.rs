//! Calling the sidecar that holds a ledger, with the credentials that its settings know.

use crate::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use commentd_acceptance::Address;
use commentd_ledger::Holder;
use commentd_sidecar::config::{Caller, Credential};
use secrecy::{ExposeSecret, SecretString};

/// Where the holder of a ledger is called.
///
/// # Errors
/// When it hasn't said where it listens, or the credentials can't be used.
pub(crate) fn address_of(
    holder: &Holder,
    authorization: Option<SecretString>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Address, Failure> {
    let Some(announced) = holder.address.as_deref() else {
        return Err(Failure(format!("{holder}; try again in a moment")));
    };
    // A sidecar that listens everywhere is called here.
    let url = announced.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
    Ok(Address::check(Some(url), authorization, env)?)
}

/// What this caller shows.
pub(crate) fn authorization_of(caller: &Caller) -> SecretString {
    match &caller.credential {
        Credential::Basic { user, password } => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret()))).into()
        }
        Credential::Bearer { token } => format!("Bearer {}", token.expose_secret()).into(),
    }
}
