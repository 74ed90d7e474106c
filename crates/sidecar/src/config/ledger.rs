//! Where deliveries are recorded.

use super::findings::Findings;
use super::settings::Settings;
use super::words::ExchangeMode;
use etcetera::BaseStrategy;
use std::path::PathBuf;

/// The ledger's file in the platform's state directory.
const LEDGER_FILE: &str = "commentd.db";

/// Where deliveries are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerChoice {
    /// Nowhere that survives the process.
    Memory,
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Whether the user named it; else its directory may have to be made.
        named: bool,
        /// Whether to go on though a part of its log is lost.
        accept_lost_wal: bool,
    },
}

/// `is_rehearsal` as in [`super::ServeConfig::is_rehearsal`].
pub(super) fn choose(settings: &Settings, findings: &mut Findings, is_rehearsal: bool) -> LedgerChoice {
    let text = settings.ledger.get();
    let accept_lost_wal = settings.accept_lost_wal.get();
    if settings.exchange.get() == ExchangeMode::DryRun {
        findings.in_vain(&settings.ledger, "dry runs record nothing");
        return LedgerChoice::Memory;
    }
    if text.eq_ignore_ascii_case("memory") {
        return LedgerChoice::Memory;
    }
    if let Some((scheme, _)) = text.split_once("://") {
        let message = match scheme.to_ascii_lowercase().as_str() {
            "postgres" | "postgresql" => "is a PostgreSQL ledger, which is not in this release",
            _ => "is an address",
        };
        findings.error(&settings.ledger, format!("{message}; it must be a file, or memory"));
    }
    if !text.is_empty() {
        return LedgerChoice::File { path: text.into(), named: true, accept_lost_wal };
    }
    if is_rehearsal {
        return LedgerChoice::Memory;
    }
    match etcetera::base_strategy::choose_native_strategy() {
        Ok(platform) => {
            let state = platform.state_dir().unwrap_or_else(|| platform.data_dir());
            let path = state.join("commentd").join(LEDGER_FILE);
            LedgerChoice::File { path, named: false, accept_lost_wal }
        }
        Err(_) => {
            findings.missing(
                &settings.ledger,
                "the platform names no home directory to keep it in, so name a file",
            );
            LedgerChoice::Memory
        }
    }
}
