//! The configuration, checked: what is here can be run.

use super::access::{self, Caller, Listen};
use super::channel::{self, ChannelChoice};
use super::error::ConfigError;
use super::kind::{Kind, parts};
use super::layers::Written;
use super::net;
use super::values::{Findings, Values};
use commentd_contract::ProviderName;
use commentd_providers::hook_pipe::HookOptions;
use commentd_providers::mock::MockOptions;
use commentd_providers::ui_worker::UiOptions;
use etcetera::BaseStrategy;
use std::path::PathBuf;
use std::time::Duration;

/// The ledger's file in the platform's state directory.
const LEDGER_FILE: &str = "commentd.db";

/// What `serve` runs with.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where callers reach it. Loopback, or with auth, or open because the user said so.
    pub listen: Listen,
    /// The provider that gets every comment first.
    pub primary: ProviderName,
    /// The providers after it, in order; never the primary itself.
    pub fallback: Vec<ProviderName>,
    /// The channel; there if and only if `native_http` is in the chain.
    pub channel: Option<ChannelChoice>,
    /// The hook; there if and only if `real_hook` is in the chain.
    pub hook: Option<HookOptions>,
    /// The UI worker; there if and only if `real_ui` is in the chain.
    pub ui: Option<UiOptions>,
    /// What happens to requests.
    pub exchange: Exchange,
    /// How `mock` behaves.
    pub mock: MockOptions,
    /// How much at a time.
    pub limits: Limits,
    /// When a caller that names no deadline gets its answer, from receipt: 1 ms to 10 min.
    pub default_deadline: Duration,
    /// What `ok` and `success` say in doubt.
    pub unknown_as: UnknownAs,
    /// Whether requests without an idempotency key are refused.
    pub require_key: bool,
    /// Where deliveries are recorded.
    pub ledger: LedgerChoice,
    /// How long settled deliveries are kept: 1 h to 10 years.
    pub retention: Duration,
    /// Further values of `Host` to answer: without port, lower case, IPv6 without brackets.
    pub allowed_hosts: Vec<String>,
    /// Who may call; empty for everybody.
    pub callers: Vec<Caller>,
    /// What is logged.
    pub log: Log,
    /// What people should know at start; holds no secrets.
    pub warnings: Vec<String>,
}

impl ServeConfig {
    /// The providers in order, the primary first.
    pub fn chain(&self) -> Vec<ProviderName> {
        std::iter::once(self.primary).chain(self.fallback.iter().copied()).collect()
    }

    /// Whether nothing of it reaches a channel though it is recorded: `mock`, and replays.
    pub fn is_rehearsal(&self) -> bool {
        self.primary == ProviderName::Mock || matches!(self.exchange, Exchange::Replay { .. })
    }
}

/// What happens to requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// They are sent.
    Live,
    /// They are rendered and validated; nothing is sent or recorded.
    DryRun,
    /// They are sent, and kept.
    Record {
        /// Where.
        cassette: PathBuf,
    },
    /// They are answered from what was kept.
    Replay {
        /// Where from.
        cassette: PathBuf,
    },
}

impl Exchange {
    /// As it is written in the settings.
    pub fn word(&self) -> &'static str {
        match self {
            Exchange::Live => "live",
            Exchange::DryRun => "dry-run",
            Exchange::Record { .. } => "record",
            Exchange::Replay { .. } => "replay",
        }
    }
}

/// How much at a time. Both are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most comments of one batch under way: 1–1000.
    pub max_batch_concurrency: usize,
    /// Most deliveries under way: 1–1000000.
    pub max_in_flight: usize,
    /// Most lookups a second: 1–10000.
    pub lookups_per_second: u32,
}

/// What `ok` and `success` say where the outcome is `unknown` or `misplaced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownAs {
    /// True.
    Success,
    /// False.
    Failure,
}

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

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: tracing::Level,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Written {
    /// Checks everything, and goes on after an error to find the next. Reads manifests and files that hold
    /// secrets, blocking.
    ///
    /// # Errors
    /// All that is wrong; each error names the setting, where its value came from, and what is allowed.
    pub fn check(self) -> Result<ServeConfig, Vec<ConfigError>> {
        let mut values = Values::new(&self, |_| true);
        values.findings.warnings.clone_from(&self.warnings);
        let primary = primary(&mut values);
        let exchange = exchange(&mut values, primary);
        let fallback = fallback(&mut values, primary, &exchange);
        let chain: Vec<ProviderName> = std::iter::once(primary).chain(fallback.iter().copied()).collect();
        general_warnings(&mut values, &chain);
        let has = |provider| chain.contains(&provider);
        let channel = if has(ProviderName::NativeHttp) { channel::choose(&mut values) } else { None };
        let hook = if has(ProviderName::RealHook) { net::hook(&mut values) } else { None };
        let ledger = ledger(&mut values, primary, &exchange);
        let ui = if has(ProviderName::RealUi) { net::ui(&mut values, &ledger) } else { None };
        let listen = access::listen(&mut values);
        let config = ServeConfig {
            callers: access::callers(&mut values, &listen),
            allowed_hosts: access::allowed_hosts(&mut values),
            ledger,
            mock: mock(&values),
            limits: Limits {
                max_batch_concurrency: values.count("max-batch-concurrency"),
                max_in_flight: values.count("max-in-flight"),
                lookups_per_second: u32::try_from(values.count("lookups-per-second")).unwrap_or(u32::MAX),
            },
            default_deadline: values.ms("default-deadline-ms"),
            unknown_as: match values.word("unknown-as") {
                "success" => UnknownAs::Success,
                _ => UnknownAs::Failure,
            },
            require_key: values.switch("require-key"),
            retention: Duration::from_secs(values.integer("retention-hours") * 3600),
            log: log(&values),
            warnings: Vec::new(),
            listen,
            primary,
            fallback,
            channel,
            hook,
            ui,
            exchange,
        };
        let Findings { errors, warnings } = values.findings;
        if errors.is_empty() { Ok(ServeConfig { warnings, ..config }) } else { Err(errors) }
    }

    /// Where deliveries are recorded, checked alone: for commands that read the ledger.
    ///
    /// # Errors
    /// As [`Written::check`], as far as it concerns the ledger.
    pub fn check_ledger(&self) -> Result<LedgerChoice, Vec<ConfigError>> {
        let mut values = Values::new(self, |setting| {
            ["mode", "exchange", "ledger", "accept-lost-wal"].contains(&setting.name)
        });
        let primary = ProviderName::parse(values.text("mode")).unwrap_or(ProviderName::NativeHttp);
        let exchange = match values.word("exchange") {
            "dry-run" => Exchange::DryRun,
            "replay" => Exchange::Replay { cassette: values.text("cassette").into() },
            _ => Exchange::Live,
        };
        let choice = ledger(&mut values, primary, &exchange);
        if values.findings.errors.is_empty() { Ok(choice) } else { Err(values.findings.errors) }
    }

    /// Whether what is recorded is a rehearsal, as [`ServeConfig::is_rehearsal`], whatever else is wrong.
    pub fn is_rehearsal(&self) -> bool {
        let values = Values::new(self, |setting| ["mode", "exchange"].contains(&setting.name));
        ProviderName::parse(values.text("mode")) == Some(ProviderName::Mock)
            || values.word("exchange") == "replay"
    }
}

fn primary(values: &mut Values<'_>) -> ProviderName {
    ProviderName::parse(values.word("mode")).unwrap_or(ProviderName::NativeHttp)
}

/// What is configured of the net below the primary, in the chain's order.
fn configured_below(values: &Values<'_>, primary: ProviderName) -> Vec<ProviderName> {
    let below = ProviderName::ALL.into_iter().skip_while(|provider| *provider != primary).skip(1);
    match primary {
        ProviderName::Mock => Vec::new(),
        _ => below.filter(|provider| net::is_configured(values, *provider)).collect(),
    }
}

fn fallback(values: &mut Values<'_>, primary: ProviderName, exchange: &Exchange) -> Vec<ProviderName> {
    let words: Vec<&str> = parts(values.text("fallback")).collect();
    let is_replay = matches!(exchange, Exchange::Replay { .. });
    if words.is_empty() {
        // Behind a replay nothing may be posted.
        return if is_replay { Vec::new() } else { configured_below(values, primary) };
    }
    if words.len() == 1 && words.iter().all(|word| word.eq_ignore_ascii_case("none")) {
        return Vec::new();
    }
    let mut chain = vec![primary];
    for word in words {
        match ProviderName::parse(word) {
            None => {
                let quoted = Kind::List.quoted(word);
                values.error("fallback", format!("must be none, or providers and commas, has {quoted}"));
            }
            Some(provider) if chain.contains(&provider) => {
                values.error("fallback", format!("has {provider}, which is in the chain already"));
            }
            // A mock says yes to what nobody posted, and behind a mock nothing may be posted.
            Some(_) if chain.contains(&ProviderName::Mock) => {
                values.error("fallback", "must be none with --mode mock, which rehearses only");
            }
            Some(_) if is_replay => {
                values.error("fallback", "must be none with --exchange replay, which rehearses only");
            }
            Some(ProviderName::Mock) => {
                values.error("fallback", "must not have mock, which would say yes to what was never posted");
            }
            Some(provider) => chain.push(provider),
        }
    }
    chain.split_off(1)
}

fn exchange(values: &mut Values<'_>, primary: ProviderName) -> Exchange {
    let word = values.word("exchange");
    let cassette = values.text("cassette");
    match word {
        "record" | "replay" if primary == ProviderName::Mock => {
            values.error("exchange", format!("is {word}, which needs --mode native_http"));
        }
        "record" | "replay" if cassette.is_empty() => {
            values.missing("cassette", &format!("--exchange {word} needs the file of the exchanges"));
        }
        "record" | "replay" => {}
        _ => values.in_vain("cassette", "only --exchange record and replay use it"),
    }
    match word {
        "dry-run" => Exchange::DryRun,
        "record" => Exchange::Record { cassette: cassette.into() },
        "replay" => Exchange::Replay { cassette: cassette.into() },
        _ => Exchange::Live,
    }
}

/// What can be said of settings without looking at their values.
fn general_warnings(values: &mut Values<'_>, chain: &[ProviderName]) {
    let primary = chain.first().copied().unwrap_or(ProviderName::NativeHttp);
    for entry in values.written.entries.iter().filter(|entry| entry.is_given()) {
        let setting = entry.setting;
        if let Some(why) = setting.obsolete {
            values.in_vain(setting.name, why);
        } else if let Some(provider) = setting.only_with.filter(|provider| !chain.contains(provider)) {
            let why = match provider {
                ProviderName::Mock | ProviderName::NativeHttp => format!("--mode is {primary}"),
                ProviderName::RealHook | ProviderName::RealUi => {
                    format!("{provider} is not in the chain (--mode, --fallback)")
                }
            };
            values.in_vain(setting.name, &why);
        }
    }
    let visible = values.written.visible_secrets(|_| true);
    values.findings.warnings.extend(visible);
    let channel = &values.written.channel;
    if !chain.contains(&ProviderName::NativeHttp) {
        let sets = channel.sets.keys().map(|name| format!("--set {name}"));
        let variables = channel.variables.keys().map(|name| format!("environment {name}"));
        let keys = channel.table.keys().map(|name| format!("{}: channel.settings.{name}", channel.path));
        for given in sets.chain(variables).chain(keys).collect::<Vec<_>>() {
            values.warn(format!("{given} has no effect: --mode is {primary}"));
        }
    }
}

fn ledger(values: &mut Values<'_>, primary: ProviderName, exchange: &Exchange) -> LedgerChoice {
    let text = values.text("ledger");
    let accept_lost_wal = values.switch("accept-lost-wal");
    if *exchange == Exchange::DryRun {
        values.in_vain("ledger", "dry runs record nothing");
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
        values.error("ledger", format!("{message}; it must be a file, or memory"));
    }
    if !text.is_empty() {
        return LedgerChoice::File { path: text.into(), named: true, accept_lost_wal };
    }
    if primary == ProviderName::Mock || matches!(exchange, Exchange::Replay { .. }) {
        return LedgerChoice::Memory;
    }
    match etcetera::base_strategy::choose_native_strategy() {
        Ok(platform) => {
            let state = platform.state_dir().unwrap_or_else(|| platform.data_dir());
            let path = state.join("commentd").join(LEDGER_FILE);
            LedgerChoice::File { path, named: false, accept_lost_wal }
        }
        Err(_) => {
            values.missing("ledger", "the platform names no home directory to keep it in, so name a file");
            LedgerChoice::Memory
        }
    }
}

fn mock(values: &Values<'_>) -> MockOptions {
    MockOptions {
        latency_ms: values.integer("latency-ms"),
        jitter_ms: values.integer("jitter-ms"),
        fail_ratio: values.ratio("fail-ratio"),
        seed: values.integer("seed"),
    }
}

fn log(values: &Values<'_>) -> Log {
    let level = match values.word("log-level") {
        "error" => tracing::Level::ERROR,
        "warn" => tracing::Level::WARN,
        "debug" => tracing::Level::DEBUG,
        "trace" => tracing::Level::TRACE,
        _ => tracing::Level::INFO,
    };
    let format = if values.word("log-format") == "json" { LogFormat::Json } else { LogFormat::Human };
    Log { level, format }
}
