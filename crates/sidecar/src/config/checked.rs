//! The configuration, checked: what is here can be run.

use super::access::{self, Caller, Listen};
use super::channel::{self, ChannelChoice};
use super::entry::SettingEntry;
use super::error::ConfigError;
use super::fallbacks;
use super::findings::Findings;
use super::kind::{Kind, parts};
use super::layers::Written;
use super::ledger::{self, LedgerChoice};
use super::settings::Settings;
use super::words::{ExchangeMode, LogFormat, UnknownAs};
use commentd_contract::ProviderName;
use commentd_providers::hook_pipe::HookOptions;
use commentd_providers::mock::MockOptions;
use commentd_providers::ui_worker::UiOptions;
use std::path::PathBuf;
use std::time::Duration;

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
    pub log: LogConfig,
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

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important level that is logged.
    pub level: tracing::Level,
    /// How a line looks.
    pub format: LogFormat,
}

impl Written {
    /// Checks everything, and goes on after an error to find the next. Reads manifests and files that hold
    /// secrets, blocking.
    ///
    /// # Errors
    /// All that is wrong; each error names the setting, where its value came from, and what is allowed.
    pub fn check(self) -> Result<ServeConfig, Vec<ConfigError>> {
        let settings = &self.settings;
        let mut findings = Findings::of(settings.entries());
        findings.warnings.clone_from(&self.warnings);
        let primary = settings.mode.get();
        let exchange = exchange(settings, &mut findings, primary);
        let fallback = fallback(settings, &mut findings, primary);
        let chain: Vec<ProviderName> = std::iter::once(primary).chain(fallback.iter().copied()).collect();
        general_warnings(&self, &mut findings, &chain);
        let has = |provider| chain.contains(&provider);
        let channel =
            if has(ProviderName::NativeHttp) { channel::choose(&self, &mut findings) } else { None };
        let hook = if has(ProviderName::RealHook) { fallbacks::hook(settings, &mut findings) } else { None };
        let ledger = ledger::choose(settings, &mut findings, self.is_rehearsal());
        let ui =
            if has(ProviderName::RealUi) { fallbacks::ui(settings, &mut findings, &ledger) } else { None };
        let listen = access::listen(settings, &mut findings);
        let config = ServeConfig {
            callers: access::callers(settings, &mut findings, &listen),
            allowed_hosts: access::allowed_hosts(settings, &mut findings),
            ledger,
            mock: MockOptions {
                latency_ms: settings.latency_ms.get(),
                jitter_ms: settings.jitter_ms.get(),
                fail_ratio: settings.fail_ratio.get(),
                seed: settings.seed.get(),
            },
            limits: Limits {
                max_batch_concurrency: settings.max_batch_concurrency.get(),
                max_in_flight: settings.max_in_flight.get(),
                lookups_per_second: settings.lookups_per_second.get(),
            },
            default_deadline: Duration::from_millis(settings.default_deadline_ms.get()),
            unknown_as: settings.unknown_as.get(),
            require_key: settings.require_key.get(),
            retention: Duration::from_secs(settings.retention_hours.get() * 3600),
            log: LogConfig { level: settings.log_level.get(), format: settings.log_format.get() },
            warnings: Vec::new(),
            listen,
            primary,
            fallback,
            channel,
            hook,
            ui,
            exchange,
        };
        let warnings = std::mem::take(&mut findings.warnings);
        findings.unless_wrong(ServeConfig { warnings, ..config })
    }

    /// Where deliveries are recorded, checked alone: for commands that read the ledger.
    ///
    /// # Errors
    /// As [`Written::check`], as far as it concerns the ledger.
    pub fn check_ledger(&self) -> Result<LedgerChoice, Vec<ConfigError>> {
        let settings = &self.settings;
        let concerned: [&SettingEntry; 4] =
            [&settings.mode, &settings.exchange, &settings.ledger, &settings.accept_lost_wal];
        let mut findings = Findings::of(concerned);
        let choice = ledger::choose(settings, &mut findings, self.is_rehearsal());
        findings.unless_wrong(choice)
    }

    /// Whether what is recorded is a rehearsal, as [`ServeConfig::is_rehearsal`], whatever else is wrong.
    pub fn is_rehearsal(&self) -> bool {
        self.settings.mode.get() == ProviderName::Mock || self.settings.exchange.get() == ExchangeMode::Replay
    }
}

/// What is configured of the providers below the primary, in the chain's order.
fn configured_below(settings: &Settings, primary: ProviderName) -> Vec<ProviderName> {
    let below = ProviderName::ALL.into_iter().skip_while(|provider| *provider != primary).skip(1);
    match primary {
        ProviderName::Mock => Vec::new(),
        _ => below.filter(|provider| fallbacks::is_configured(settings, *provider)).collect(),
    }
}

fn fallback(settings: &Settings, findings: &mut Findings, primary: ProviderName) -> Vec<ProviderName> {
    let setting = &settings.fallback;
    let words: Vec<&str> = parts(setting.get()).collect();
    let is_replay = settings.exchange.get() == ExchangeMode::Replay;
    if words.is_empty() {
        // Behind a replay nothing may be posted.
        return if is_replay { Vec::new() } else { configured_below(settings, primary) };
    }
    if words.len() == 1 && words.iter().all(|word| word.eq_ignore_ascii_case("none")) {
        return Vec::new();
    }
    let mut chain = vec![primary];
    for word in words {
        match ProviderName::parse(word) {
            None => {
                let quoted = Kind::List.quoted(word);
                findings.error(setting, format!("must be none, or providers and commas, has {quoted}"));
            }
            Some(provider) if chain.contains(&provider) => {
                findings.error(setting, format!("has {provider}, which is in the chain already"));
            }
            // A mock says yes to what nobody posted, and behind a mock nothing may be posted.
            Some(_) if chain.contains(&ProviderName::Mock) => {
                findings.error(setting, "must be none with --mode mock, which rehearses only");
            }
            Some(_) if is_replay => {
                findings.error(setting, "must be none with --exchange replay, which rehearses only");
            }
            Some(ProviderName::Mock) => {
                findings.error(setting, "must not have mock, which would say yes to what was never posted");
            }
            Some(provider) => chain.push(provider),
        }
    }
    chain.split_off(1)
}

fn exchange(settings: &Settings, findings: &mut Findings, primary: ProviderName) -> Exchange {
    let cassette = settings.cassette.get();
    let exchange = match settings.exchange.get() {
        ExchangeMode::Live => Exchange::Live,
        ExchangeMode::DryRun => Exchange::DryRun,
        ExchangeMode::Record => Exchange::Record { cassette: cassette.into() },
        ExchangeMode::Replay => Exchange::Replay { cassette: cassette.into() },
    };
    let word = exchange.word();
    match exchange {
        Exchange::Live | Exchange::DryRun => {
            findings.in_vain(&settings.cassette, "only --exchange record and replay use it");
        }
        Exchange::Record { .. } | Exchange::Replay { .. } if primary == ProviderName::Mock => {
            findings.error(&settings.exchange, format!("is {word}, which needs --mode native_http"));
        }
        Exchange::Record { .. } | Exchange::Replay { .. } if cassette.is_empty() => {
            findings
                .missing(&settings.cassette, &format!("--exchange {word} needs the file of the exchanges"));
        }
        Exchange::Record { .. } | Exchange::Replay { .. } => {}
    }
    exchange
}

/// What can be said of settings without looking at their values.
fn general_warnings(written: &Written, findings: &mut Findings, chain: &[ProviderName]) {
    let primary = chain.first().copied().unwrap_or(ProviderName::NativeHttp);
    for entry in written.settings.entries().filter(|entry| entry.is_given()) {
        let setting = entry.setting;
        if let Some(why) = setting.obsolete {
            findings.in_vain(entry, why);
        } else if let Some(provider) = setting.only_with.filter(|provider| !chain.contains(provider)) {
            let why = match provider {
                ProviderName::Mock | ProviderName::NativeHttp => format!("--mode is {primary}"),
                ProviderName::RealHook | ProviderName::RealUi => {
                    format!("{provider} is not in the chain (--mode, --fallback)")
                }
            };
            findings.in_vain(entry, &why);
        }
    }
    findings.warnings.extend(written.visible_secrets(|_| true));
    let channel = &written.channel;
    if !chain.contains(&ProviderName::NativeHttp) {
        let sets = channel.sets.keys().map(|name| format!("--set {name}"));
        let variables = channel.variables.keys().map(|name| format!("environment {name}"));
        let keys = channel.table.keys().map(|name| format!("{}: channel.settings.{name}", channel.path));
        for given in sets.chain(variables).chain(keys) {
            findings.warn(format!("{given} has no effect: --mode is {primary}"));
        }
    }
}
