//! The sidecar that posts: the one that was named, the one that holds the ledger, or one of our own for as long as
//! this command runs.

use super::state::Keeper;
use crate::commands::client::{address_of, authorization_of, client};
use crate::commands::parts::{ledger_options, open_ledger, parts};
use crate::console;
use crate::failure::{Failure, config_failure};
use commentd_acceptance::Address;
use commentd_contract::SystemClock;
use commentd_ledger::{MemoryLedger, OpenError, SqliteLedger, Stamp};
use commentd_sidecar::config::{ConfigError, LedgerChoice, ServeConfig, Written};
use commentd_sidecar::server::Drained;
use commentd_sidecar::start::{OpenLedger, Sidecar};
use secrecy::SecretString;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The longest that `/health` may take, in milliseconds.
const HEALTH_TIMEOUT_MS: u64 = 5000;

/// A sidecar of our own, which ends with this command.
pub(super) struct OwnSidecar {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Drained>,
}

impl OwnSidecar {
    /// Settles and records what is in flight, and ends it.
    pub(super) async fn end(self) -> Result<(), Failure> {
        drop(self.stop);
        if self.running.await? == Drained::CutShort {
            console::warn(
                "the drain took too long and was cut short; run the command again to learn what is unknown",
            );
        }
        Ok(())
    }
}

/// How a sidecar is reached.
pub(super) struct TargetSidecar {
    pub(super) address: Address,
    pub(super) own: Option<OwnSidecar>,
}

/// Credentials as the command line and the environment give them.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The sidecar at a given address.
pub(super) fn named(
    base_url: String,
    authorization: Option<SecretString>,
    env: Env<'_>,
) -> Result<TargetSidecar, Failure> {
    Ok(TargetSidecar { address: Address::check(Some(base_url), authorization, env)?, own: None })
}

/// The sidecar that holds the ledger of these settings, or one of our own with them.
///
/// # Errors
/// When the settings, the ledger or the holder of the ledger can't be used.
pub(super) async fn by_ledger(
    written: Written,
    authorization: Option<SecretString>,
    env: Env<'_>,
) -> Result<TargetSidecar, Failure> {
    let choice = written.check_ledger().map_err(config_failure)?;
    let stamp = if written.is_rehearsal() { Stamp::Rehearsal } else { Stamp::Live };
    let visible = written.secrets_on_command_line();
    let checked = written.check();
    let ledger = match &choice {
        LedgerChoice::Memory => OpenLedger::Other(Arc::new(MemoryLedger::new(stamp))),
        LedgerChoice::File { path, named, accept_lost_wal } => {
            // Settings that can't be run with still lead to the sidecar that holds the ledger, but make no new one.
            if !path.exists() {
                return own(checked.map_err(config_failure)?, None, authorization, env).await;
            }
            let options = ledger_options(*named, *accept_lost_wal);
            match SqliteLedger::open(path, stamp, &options) {
                Ok(ledger) => OpenLedger::File(Arc::new(ledger)),
                Err(OpenError::Held(holder)) => {
                    for warning in visible {
                        console::warn(&warning);
                    }
                    let address = address_of(&holder, authorization, env)?;
                    return Ok(TargetSidecar { address: with_callers(address, &checked), own: None });
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    own(checked.map_err(config_failure)?, Some(ledger), authorization, env).await
}

async fn own(
    config: ServeConfig,
    ledger: Option<OpenLedger>,
    authorization: Option<SecretString>,
    env: Env<'_>,
) -> Result<TargetSidecar, Failure> {
    for warning in &config.warnings {
        console::warn(warning);
    }
    let ledger = match ledger {
        Some(ledger) => ledger,
        None => open_ledger(&config)?,
    };
    let mut parts = parts(&config, ledger, SystemClock::start())?;
    // Ours alone, wherever `serve` would listen.
    (parts.host, parts.port) = ("127.0.0.1".into(), 0);
    let sidecar = Sidecar::start(parts).await?;
    let url = format!("http://{}", sidecar.address());
    let address = with_callers(Address::check(Some(url), authorization, env)?, &Ok(config));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(sidecar.run(async { drop(stopped.await) }));
    Ok(TargetSidecar { address, own: Some(OwnSidecar { stop, running }) })
}

/// Where no credentials were given, those of the first caller that the settings know.
fn with_callers(address: Address, checked: &Result<ServeConfig, Vec<ConfigError>>) -> Address {
    let known = checked.as_ref().ok().and_then(|config| config.callers.first()).map(authorization_of);
    Address { authorization: address.authorization.or(known), ..address }
}

/// What the sidecar says of itself.
pub(super) struct SidecarHealth {
    /// Who knows our keys; `None` where nothing is recorded that lasts.
    pub(super) keeper: Option<Keeper>,
    /// Whether it sends nothing.
    pub(super) dry_run: bool,
}

/// Asks the sidecar.
///
/// # Errors
/// When it doesn't answer, isn't commentd, or doesn't know our credentials.
pub(super) async fn health(address: &Address) -> Result<SidecarHealth, Failure> {
    let wrong = |what: &str| Failure(format!("{}: {what}; nothing was sent", address.shown));
    let answer =
        client(address, HEALTH_TIMEOUT_MS).get("/health").await.map_err(|error| wrong(&error.to_string()))?;
    let reply: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(data) = reply.get("data").filter(|data| data.get("ledger").is_some()) else {
        return Err(wrong("is no commentd sidecar of this release: its /health says nothing of a ledger"));
    };
    let Some(caller) = data.get("caller").and_then(Value::as_str) else {
        return Err(wrong(
            "doesn't know these credentials; give them by --http-authorization or PYWEIXIN_HTTP_AUTHORIZATION",
        ));
    };
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let keeper = text("/ledger/id").map(|ledger| Keeper {
        ledger,
        location: text("/ledger/location").unwrap_or_default(),
        caller: caller.to_owned(),
        retention_ms: data.get("retention_ms").and_then(Value::as_u64).unwrap_or_default(),
    });
    Ok(SidecarHealth { keeper, dry_run: text("/exchange").as_deref() == Some("dry-run") })
}
