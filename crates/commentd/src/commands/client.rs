//! Calling a sidecar that runs, with the credentials that its settings know.

use crate::console;
use crate::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use commentd_acceptance::{Address, secrets_on_command_line};
use commentd_contract::client::ContractClient;
use commentd_ledger::LockHolder;
use commentd_sidecar::config::{Caller, Credential, Written};
use secrecy::{ExposeSecret, SecretString};

/// Where the holder of a ledger is called.
///
/// # Errors
/// When it hasn't said where it listens, or the credentials can't be used.
pub(crate) fn address_of(
    holder: &LockHolder,
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

/// A client for this address. A request takes `timeout_ms` at most, from connecting to the reply's last byte.
pub(crate) fn client(address: &Address, timeout_ms: u64) -> ContractClient<'_> {
    ContractClient { base_url: &address.url, timeout_ms, authorization: address.authorization.as_ref() }
}

/// Warns of what a client's command line shows to others.
pub(crate) fn warn_of_secrets(base_url: Option<&str>, authorization: bool, written: Option<&Written>) {
    let client = secrets_on_command_line(base_url, authorization);
    let settings = written.map(Written::secrets_on_command_line).unwrap_or_default();
    for warning in client.iter().chain(&settings) {
        console::warn(warning);
    }
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
