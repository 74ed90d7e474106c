//! `commentd serve`: the sidecar.

use super::flags::ServeFlags;
use super::parts::{open_ledger, parts};
use crate::failure::{CommandResult, config_failure, no_threads};
use crate::{console, logging, signals};
use commentd_contract::{ProviderName, SystemClock};
use commentd_sidecar::config::{LogFormat, ServeConfig, Written};
use commentd_sidecar::http::HealthFacts;
use commentd_sidecar::server::Drained;
use commentd_sidecar::start::Sidecar;
use std::pin::pin;

/// The arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The settings.
    #[command(flatten)]
    pub flags: ServeFlags,
}

pub(crate) async fn run(args: ServeArgs) -> CommandResult {
    console::never_wait().map_err(|error| no_threads(&error))?;
    let config = args.flags.load().and_then(Written::check).map_err(config_failure)?;
    logging::start(config.log.level.as_str(), config.log.format == LogFormat::Json);
    for warning in &config.warnings {
        console::warn(warning);
    }
    let ledger = open_ledger(&config)?;
    let parts = parts(&config, ledger, SystemClock::start())?;
    let health = parts.api.health.clone();
    let mut stop = pin!(signals::stop_requested());
    let sidecar = tokio::select! {
        biased;
        () = &mut stop => return Ok(0),
        started = Sidecar::start(parts) => started?,
    };
    console::say(&start_line(&sidecar, &health, &config));
    if sidecar.unknown() > 0 {
        tracing::warn!(
            count = sidecar.unknown(),
            "deliveries of an earlier run are unknown; they are being looked up where their channel allows it"
        );
    }
    match sidecar.run(stop).await {
        Drained::Settled => tracing::info!("drained: everything in flight was settled and recorded"),
        Drained::CutShort => {
            tracing::warn!(
                "the drain took too long and was cut short; what was open is unknown at the next start"
            );
        }
    }
    Ok(0)
}

/// What the start line says where a provider may need longer than a caller that names no deadline waits.
fn slow_providers(config: &ServeConfig) -> String {
    let needs = [
        config.hook.as_ref().map(|hook| (ProviderName::RealHook, hook.wait_timeout_ms)),
        config.ui.as_ref().map(|ui| (ProviderName::RealUi, ui.timeout_ms)),
    ];
    let deadline_ms = config.default_deadline.as_millis();
    let slow: Vec<String> = needs
        .into_iter()
        .flatten()
        .filter(|(_, needs_ms)| u128::from(*needs_ms) > deadline_ms)
        .map(|(provider, needs_ms)| format!("{provider} may need {needs_ms} ms"))
        .collect();
    if slow.is_empty() {
        return String::new();
    }
    format!(
        " · {}, longer than the default deadline of {deadline_ms} ms: ask for more with deadline_ms or \
         --default-deadline-ms",
        slow.join(", ")
    )
}

/// One line for people and scripts: where, through what, recorded where.
fn start_line(sidecar: &Sidecar, health: &HealthFacts, config: &ServeConfig) -> String {
    let chain: Vec<&str> = health.chain.iter().map(|name| name.as_str()).collect();
    let channel = if health.upstream_kind.is_empty() {
        String::new()
    } else {
        format!(" ({} at {})", health.upstream_kind, health.upstream_base_url)
    };
    let ledger = match (health.exchange.as_str(), health.ledger.durable) {
        ("dry-run", _) => "dry run: nothing is sent or recorded".to_owned(),
        (_, true) => format!("ledger {}", health.ledger.location),
        (_, false) => "ledger in memory: nothing survives a restart".to_owned(),
    };
    let tape = match health.exchange.as_str() {
        "record" => " · recording",
        "replay" => " · replaying, nothing is sent",
        _ => "",
    };
    format!(
        "commentd {} listening on http://{} · {}{channel} · {ledger}{tape}{}",
        health.version,
        sidecar.address(),
        chain.join(" → "),
        slow_providers(config),
    )
}
