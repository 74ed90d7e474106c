//! What a sidecar is made of, by its configuration.

use crate::console;
use crate::failure::Failure;
use commentd_contract::ProviderName;
use commentd_contract::SystemClock;
use commentd_contract::time::whole_ms;
use commentd_ledger::{Ledger, MemoryLedger, SqliteLedger, SqliteOptions, Stamp};
use commentd_providers::Provider;
use commentd_providers::hook_pipe::HookPipe;
use commentd_providers::mock::Mock;
use commentd_providers::native::{CassetteMode, NativeHttp};
use commentd_providers::ui_worker::UiWorker;
use commentd_sidecar::config::{ChannelChoice, Exchange, LedgerChoice, ServeConfig, UnknownAs};
use commentd_sidecar::http::{ApiSettings, HealthFacts};
use commentd_sidecar::start::{OpenLedger, Parts};
use std::sync::Arc;

/// What a sidecar with this configuration is made of.
pub(crate) fn parts(config: &ServeConfig, ledger: OpenLedger, clock: SystemClock) -> Result<Parts, Failure> {
    Ok(Parts {
        host: config.listen.host.clone(),
        port: config.listen.port,
        chain: chain(config, clock)?,
        api: api(config, &ledger),
        ledger,
        max_in_flight: config.limits.max_in_flight,
        lookups_per_second: config.limits.lookups_per_second,
        retention: config.retention,
        clock,
    })
}

/// The provider for this channel.
pub(crate) fn native(choice: ChannelChoice, clock: SystemClock) -> Result<NativeHttp, Failure> {
    let native =
        NativeHttp::with_tls(choice.channel, choice.base_url, choice.timeout, Arc::new(clock), &choice.tls)
            .map_err(|reason| Failure(format!("the channel can't be spoken to: {reason}")))?;
    Ok(match choice.proxy {
        Some(proxy) => native.by_proxy(proxy),
        None => native,
    })
}

pub(crate) fn open_ledger(config: &ServeConfig) -> Result<OpenLedger, Failure> {
    let stamp = if config.is_rehearsal() { Stamp::Rehearsal } else { Stamp::Live };
    match &config.ledger {
        LedgerChoice::Memory => Ok(OpenLedger::Other(Arc::new(MemoryLedger::new(stamp)))),
        LedgerChoice::File { path, named, accept_lost_wal } => {
            let options = ledger_options(*named, *accept_lost_wal);
            Ok(OpenLedger::File(Arc::new(SqliteLedger::open(path, stamp, &options)?)))
        }
    }
}

/// How the ledger is opened that these settings choose.
pub(crate) fn ledger_options(named: bool, accept_lost_wal: bool) -> SqliteOptions {
    SqliteOptions { create_parent: !named, accept_lost_log: accept_lost_wal, ..SqliteOptions::default() }
}

/// The providers of this configuration, in order.
pub(crate) fn chain(config: &ServeConfig, clock: SystemClock) -> Result<Vec<Arc<dyn Provider>>, Failure> {
    let tape = tape(&config.exchange)?;
    let mut chain: Vec<Arc<dyn Provider>> = Vec::new();
    for name in config.chain() {
        let provider: Option<Arc<dyn Provider>> = match name {
            ProviderName::Mock => Some(Arc::new(Mock::new(config.mock))),
            ProviderName::NativeHttp => match &config.channel {
                Some(choice) => Some(Arc::new(native(choice.clone(), clock)?.with_cassette(tape.clone()))),
                None => None,
            },
            ProviderName::RealHook => {
                config.hook.clone().map(|hook| Arc::new(HookPipe::new(hook, Arc::new(clock))) as _)
            }
            ProviderName::RealUi => {
                config.ui.clone().map(|ui| Arc::new(UiWorker::new(ui, Arc::new(clock))) as _)
            }
        };
        chain.push(provider.ok_or_else(|| Failure(format!("--mode/--fallback: {name} can't be started")))?);
    }
    Ok(chain)
}

/// Reads or makes the cassette, if there is one.
fn tape(exchange: &Exchange) -> Result<CassetteMode, Failure> {
    let tape = match exchange {
        Exchange::Live | Exchange::DryRun => Ok(CassetteMode::Live),
        Exchange::Record { cassette } => CassetteMode::record(cassette),
        Exchange::Replay { cassette } => CassetteMode::replay(cassette),
    };
    tape.map_err(|reason| Failure(format!("--cassette: {reason}")))
}

fn api(config: &ServeConfig, ledger: &OpenLedger) -> ApiSettings {
    let channel = config.channel.as_ref();
    let health = HealthFacts {
        mode: config.primary,
        provider: config.primary,
        chain: config.chain(),
        upstream_kind: channel.map(|choice| choice.channel.name().to_owned()).unwrap_or_default(),
        upstream_base_url: channel.map(|choice| choice.base_url.shown()).unwrap_or_default(),
        exchange: config.exchange.word().into(),
        ledger: match ledger {
            OpenLedger::File(ledger) => ledger.describe(),
            OpenLedger::Other(ledger) => ledger.describe(),
        },
        retention_ms: whole_ms(config.retention),
        version: env!("CARGO_PKG_VERSION"),
    };
    ApiSettings {
        callers: config.callers.clone(),
        allowed_hosts: config.allowed_hosts.clone(),
        default_deadline: config.default_deadline,
        max_batch_concurrency: config.limits.max_batch_concurrency,
        unknown_is_success: config.unknown_as == UnknownAs::Success,
        require_key: config.require_key,
        dry_run: config.exchange == Exchange::DryRun,
        lost_lines: console::lost_lines(),
        health,
    }
}
