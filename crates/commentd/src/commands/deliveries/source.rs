//! Where deliveries are: at the sidecar that holds the ledger, or in the ledger itself where none does.

use crate::commands::client::{address_of, authorization_of, client};
use crate::commands::parts::{chain, ledger_options};
use crate::console;
use crate::failure::{Failure, config_failure};
use commentd_acceptance::{Address, given_base_url};
use commentd_contract::SystemClock;
use commentd_contract::client::{CallError, HttpResponse};
use commentd_contract::deliveries::{DeliveryList, DeliveryView, ResolveRequest};
use commentd_contract::{Outcome, Reply};
use commentd_delivery::{Clock, DeliveryId};
use commentd_ledger::{Ledger, LedgerError, OpenError, RecordFilter, SqliteLedger, Stamp};
use commentd_sidecar::config::{Caller, Exchange, LedgerChoice, Written};
use commentd_sidecar::dispatch::deliveries::Refused;
use commentd_sidecar::dispatch::{Bounds, Dispatcher, delivery_view};
use commentd_sidecar::ids::SystemIds;
use secrecy::SecretString;
use std::path::Path;
use std::sync::Arc;

/// The longest that a request may take, in milliseconds; one that reads candidates asks the channel page by page.
const TIMEOUT_MS: u64 = 60_000;

/// Which deliveries to list.
pub(super) struct ListFilter {
    pub(super) outcome: Option<Outcome>,
    pub(super) key: Option<String>,
    pub(super) limit: u32,
}

/// Why there is nothing to show.
pub(super) enum SourceError {
    /// There is no such delivery, or its record forbids it.
    NotAllowed(String),
    /// It could not be asked for.
    Failed(Failure),
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        SourceError::Failed(failure)
    }
}

impl From<Refused> for SourceError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound | Refused::Conflict(_) => SourceError::NotAllowed(refused.to_string()),
            Refused::Malformed(_) | Refused::Ledger(_) => SourceError::Failed(Failure(refused.to_string())),
        }
    }
}

/// Where deliveries are.
pub(super) enum DeliverySource {
    /// A sidecar, once for each caller whose deliveries are to be seen.
    Sidecar(Vec<Address>),
    /// The ledger itself, with what else the settings say.
    Ledger(Dispatcher, Vec<Caller>),
}

impl DeliverySource {
    /// Finds it.
    ///
    /// # Errors
    /// When the settings, the ledger or its holder can't be used.
    pub(super) async fn open(
        written: Written,
        base_url: Option<String>,
        authorization: Option<SecretString>,
    ) -> Result<Self, Failure> {
        let env = |name: &str| std::env::var(name).ok();
        let callers = written.check_callers().map_err(config_failure)?;
        if let Some(url) = given_base_url(base_url, &env) {
            return Ok(sidecar(Address::check(Some(url), authorization, &env)?, &callers));
        }
        let LedgerChoice::File { path, accept_lost_wal, .. } =
            written.check_ledger().map_err(config_failure)?
        else {
            return Err(Failure(
                "--ledger: is in memory, so only its sidecar knows the deliveries; give its address by \
                 --http-base-url"
                    .into(),
            ));
        };
        if !path.exists() {
            return Err(Failure(format!(
                "--ledger: there is no ledger {}; give the settings that the sidecar runs with, or its address by \
                 --http-base-url",
                path.display()
            )));
        }
        match open_ledger(&path, accept_lost_wal) {
            Ok(ledger) => Ok(DeliverySource::Ledger(dispatcher_over(&written, ledger).await?, callers)),
            Err(OpenError::Held(holder)) => Ok(sidecar(address_of(&holder, authorization, &env)?, &callers)),
            Err(error) => Err(error.into()),
        }
    }

    /// Releases the ledger.
    ///
    /// # Errors
    /// When it can't be flushed.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            DeliverySource::Sidecar(_) => Ok(()),
            DeliverySource::Ledger(dispatcher, _) => Ok(dispatcher.ledger().close().await?),
        }
    }

    pub(super) async fn list(&self, filter: &ListFilter) -> Result<Vec<DeliveryView>, SourceError> {
        let mut deliveries = Vec::new();
        match self {
            DeliverySource::Sidecar(callers) => {
                let path = path_of(filter);
                for caller in callers {
                    let list: DeliveryList = read(caller, client(caller, TIMEOUT_MS).get(&path).await)?;
                    deliveries.extend(list.deliveries);
                }
            }
            DeliverySource::Ledger(dispatcher, callers) => {
                let names = callers.iter().map(|caller| caller.name.clone()).chain([String::new()]);
                let keys: Vec<_> = match &filter.key {
                    None => vec![None],
                    Some(key) => names.map(|name| Some((name, key.clone()))).collect(),
                };
                for key in keys {
                    let filter =
                        RecordFilter { outcome: filter.outcome, key, limit: filter.limit, caller: None };
                    deliveries.extend(dispatcher.deliveries(filter).await?.iter().map(delivery_view));
                }
            }
        }
        if filter.key.is_some() {
            deliveries.sort_by_key(|view| (view.caller.clone(), view.item));
        } else {
            deliveries.sort_by_key(|view| std::cmp::Reverse(view.created_ms));
        }
        deliveries.truncate(filter.limit as usize);
        Ok(deliveries)
    }

    pub(super) async fn show(&self, id: &str) -> Result<DeliveryView, SourceError> {
        let view = match self {
            DeliverySource::Sidecar(callers) => {
                first(callers, |caller| get(caller, format!("/api/deliveries/{id}"))).await?
            }
            DeliverySource::Ledger(dispatcher, _) => delivery_view(&dispatcher.delivery(parsed(id)?).await?),
        };
        if view.outcome != Outcome::Unknown {
            return Ok(view);
        }
        match self {
            DeliverySource::Sidecar(callers) => {
                first(callers, |caller| get(caller, format!("/api/deliveries/{id}?candidates=true"))).await
            }
            DeliverySource::Ledger(dispatcher, _) => {
                let record = dispatcher.delivery(parsed(id)?).await?;
                let candidates = Some(dispatcher.candidates(&record).await);
                Ok(DeliveryView { candidates, ..delivery_view(&record) })
            }
        }
    }

    pub(super) async fn resolve(&self, id: &str, said: &ResolveRequest) -> Result<DeliveryView, SourceError> {
        match self {
            DeliverySource::Sidecar(callers) => {
                let body = serde_json::to_vec(said).map_err(Failure::from)?;
                first(callers, |caller| post(caller, format!("/api/deliveries/{id}/resolve"), body.clone()))
                    .await
            }
            DeliverySource::Ledger(dispatcher, _) => {
                Ok(delivery_view(&dispatcher.resolve(parsed(id)?, said).await?))
            }
        }
    }

    pub(super) async fn forget(&self, id: &str) -> Result<DeliveryView, SourceError> {
        match self {
            DeliverySource::Sidecar(callers) => {
                let body = b"{}".to_vec();
                first(callers, |caller| post(caller, format!("/api/deliveries/{id}/forget"), body.clone()))
                    .await
            }
            DeliverySource::Ledger(dispatcher, _) => {
                Ok(delivery_view(&dispatcher.forget(parsed(id)?).await?))
            }
        }
    }
}

fn parsed(id: &str) -> Result<DeliveryId, Failure> {
    DeliveryId::parse(id).ok_or_else(|| Failure(format!("ID: {id:?} is no delivery's id")))
}

/// A ledger is read whatever it holds: live deliveries or rehearsals.
fn open_ledger(path: &Path, accept_lost_wal: bool) -> Result<SqliteLedger, OpenError> {
    let options = ledger_options(true, accept_lost_wal);
    match SqliteLedger::open(path, Stamp::Live, &options) {
        Err(OpenError::WrongStamp { found, .. }) => SqliteLedger::open(path, found, &options),
        opened => opened,
    }
}

/// What a sidecar would know of these deliveries, without one. Nothing is sent and nothing looked up by itself.
async fn dispatcher_over(written: &Written, ledger: SqliteLedger) -> Result<Dispatcher, Failure> {
    let clock = SystemClock::start();
    // Whoever holds the ledger ends what a crash has left open.
    ledger.recover(clock.unix_ms()).await.map_err(|error: LedgerError| Failure(error.to_string()))?;
    let chain = match written.clone().check() {
        // A cassette is neither written nor played for people who only look.
        Ok(config) if config.exchange == Exchange::Live => chain(&config, clock)?,
        Ok(_) => Vec::new(),
        Err(errors) => {
            for error in errors {
                console::warn(&format!("{error}; so the channel isn't asked"));
            }
            Vec::new()
        }
    };
    let bounds = Bounds { in_flight: 1, lookups_per_second: 20 };
    Ok(Dispatcher::new(chain, Arc::new(ledger), clock, Arc::new(SystemIds), bounds))
}

/// Where no credentials were given, those of every caller that the settings know.
fn sidecar(address: Address, callers: &[Caller]) -> DeliverySource {
    if address.authorization.is_some() || callers.is_empty() {
        return DeliverySource::Sidecar(vec![address]);
    }
    let with = |caller| Address { authorization: Some(authorization_of(caller)), ..address.clone() };
    DeliverySource::Sidecar(callers.iter().map(with).collect())
}

async fn get(caller: &Address, path: String) -> Result<DeliveryView, SourceError> {
    read(caller, client(caller, TIMEOUT_MS).get(&path).await)
}

async fn post(caller: &Address, path: String, body: Vec<u8>) -> Result<DeliveryView, SourceError> {
    read(caller, client(caller, TIMEOUT_MS).post(&path, body).await)
}

/// The answer to the first caller whose delivery it is; the last one's error if it is nobody's.
async fn first<'a, F: Future<Output = Result<DeliveryView, SourceError>>>(
    callers: &'a [Address],
    ask: impl Fn(&'a Address) -> F,
) -> Result<DeliveryView, SourceError> {
    let mut error = SourceError::NotAllowed("there is no such delivery".into());
    for caller in callers {
        match ask(caller).await {
            Err(SourceError::NotAllowed(reason)) => error = SourceError::NotAllowed(reason),
            answer => return answer,
        }
    }
    Err(error)
}

/// `data` of a reply that says yes.
fn read<T: serde::de::DeserializeOwned>(
    caller: &Address,
    response: Result<HttpResponse, CallError>,
) -> Result<T, SourceError> {
    let failed = |what: &str| SourceError::Failed(Failure(format!("{}: {what}", caller.shown)));
    let response = response.map_err(|error| failed(&error.to_string()))?;
    if response.status.is_success() {
        let reply: Reply<T> = serde_json::from_slice(&response.body)
            .map_err(|error| failed(&format!("its reply can't be read: {error}")))?;
        return Ok(reply.data);
    }
    let reply: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let reason = reply.get("error_message").and_then(serde_json::Value::as_str).unwrap_or("gave no reason");
    match response.status.as_u16() {
        404 | 409 if reply.get("v").is_some() => Err(SourceError::NotAllowed(reason.to_owned())),
        401 => Err(failed(
            "doesn't know these credentials; give the settings that it runs with, or --http-authorization",
        )),
        status => Err(failed(&format!("HTTP {status}: {reason}"))),
    }
}

fn path_of(filter: &ListFilter) -> String {
    let mut path = format!("/api/deliveries?limit={}", filter.limit);
    if let Some(outcome) = filter.outcome {
        path.push_str(&format!("&outcome={outcome}"));
    }
    if let Some(key) = &filter.key {
        path.push_str("&key=");
        path.extend(url::form_urlencoded::byte_serialize(key.as_bytes()));
    }
    path
}
