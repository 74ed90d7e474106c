//! Every setting of `serve`, in one table. The command line, the environment, `commentd.toml` and `config show`
//! are made from it; its defaults stand in `commentd.default.toml`, and a test keeps the two in step.

use super::kind::Kind;
use commentd_contract::ProviderName;

/// Under which heading the help shows a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// Where callers reach the sidecar.
    Listening,
    /// Which providers there are, and how they behave.
    Providers,
    /// The channel of `native_http`.
    Channel,
    /// The hook's pipe and the UI worker.
    Net,
    /// Times and sizes.
    Limits,
    /// The ledger.
    Ledger,
    /// Who may call.
    Access,
    /// What is logged.
    Logging,
    /// What is accepted so that old start scripts keep working.
    Old,
}

impl Heading {
    /// The heading's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Heading::Listening => "Listening",
            Heading::Providers => "Providers",
            Heading::Channel => "Channel",
            Heading::Net => "Hook and UI worker",
            Heading::Limits => "Deadlines and limits",
            Heading::Ledger => "Ledger",
            Heading::Access => "Access",
            Heading::Logging => "Logging",
            Heading::Old => "Old flags",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The flag, without its dashes.
    pub name: &'static str,
    /// Its older flags, which still work.
    pub aliases: &'static [&'static str],
    /// What its value may be.
    pub kind: Kind,
    /// What it is for, with unit and range; the default is appended where it is shown.
    pub help: &'static str,
    /// Where the help shows it.
    pub heading: Heading,
    /// The channel setting that it is the old name of.
    pub channel_setting: Option<&'static str>,
    /// The provider that must be in the chain for it to have an effect.
    pub only_with: Option<ProviderName>,
    /// Why it has no effect any more, for those that are accepted and warned of.
    pub obsolete: Option<&'static str>,
    clamps: bool,
    file_key: Option<&'static str>,
    old_variable: Option<&'static str>,
}

impl Setting {
    const fn new(heading: Heading, name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            kind,
            help,
            heading,
            channel_setting: None,
            only_with: None,
            obsolete: None,
            clamps: false,
            file_key: None,
            old_variable: None,
        }
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn file_key_is(mut self, key: &'static str) -> Self {
        self.file_key = Some(key);
        self
    }

    const fn old_variable(mut self, name: &'static str) -> Self {
        self.old_variable = Some(name);
        self
    }

    const fn only_with(mut self, provider: ProviderName) -> Self {
        self.only_with = Some(provider);
        self
    }

    const fn stands_for(mut self, channel_setting: &'static str) -> Self {
        self.channel_setting = Some(channel_setting);
        self.only_with(ProviderName::NativeHttp)
    }

    /// The older sidecar took any number for it, and brought it into range.
    const fn clamps(mut self) -> Self {
        self.clamps = true;
        self
    }

    const fn obsolete(mut self, why: &'static str) -> Self {
        self.obsolete = Some(why);
        self
    }

    /// What is taken for a number out of range, where one is.
    pub(super) fn clamped(&self, text: &str) -> Option<String> {
        if self.clamps { self.kind.nearest(text) } else { None }
    }

    /// Its key in `commentd.toml`, with dots where it stands in a table.
    pub fn file_key(&self) -> String {
        self.file_key.map_or_else(|| self.name.replace('-', "_"), str::to_owned)
    }

    /// Whether the flag, given without its dashes, is this setting's.
    pub fn is_called(&self, flag: &str) -> bool {
        self.name == flag || self.aliases.contains(&flag)
    }

    /// The environment variables that set it, the first that isn't empty wins.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        let flags = std::iter::once(self.name).chain(self.aliases.iter().copied());
        flags.map(variable).chain(self.old_variable.map(str::to_owned))
    }
}

/// The environment variable of a flag.
fn variable(flag: &str) -> String {
    format!("COMMENTD_{}", flag.replace('-', "_").to_ascii_uppercase())
}

/// The setting with this flag, given without its dashes; old flags are known too.
pub fn find(flag: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.is_called(flag))
}

const MAX_MS: i64 = 600_000;
const HOOK_BATCHES: &str = "the hook's batch and piggyback commands are never used: they crash its client";
const NO_UI_TUNING: &str = "the UI worker is a process of its own, which has its own settings";

use Heading::{Access, Channel, Ledger, Limits, Listening, Logging, Net, Old, Providers};
use Kind::{Address, Integer, List, OneOf, Path, Ratio, Secret, Switch, Text};

const fn ms(min: i64) -> Kind {
    Integer { min, max: MAX_MS }
}

/// Every setting, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    Setting::new(Listening, "host", Text, "Address or host name to listen on"),
    Setting::new(
        Listening,
        "port",
        Integer { min: 0, max: 65_535 },
        "Port to listen on, 0 to 65535; 0 takes a free one, which the start line names",
    ),
    Setting::new(
        Providers,
        "mode",
        OneOf(&["mock", "native_http", "real_hook", "real_ui"]),
        "The primary provider: it gets every comment first",
    ),
    Setting::new(
        Providers,
        "fallback",
        List,
        "The providers after the primary one, in order, separated by commas; none for none; unset for those \
         that are configured",
    ),
    Setting::new(
        Providers,
        "exchange",
        OneOf(&["live", "dry-run", "record", "replay"]),
        "What happens to requests: live sends them, dry-run renders and validates them and sends nothing, record \
         sends them and keeps them in the cassette, replay answers them from it",
    ),
    Setting::new(Providers, "cassette", Path, "File of recorded exchanges (HAR), for record and replay"),
    Setting::new(Providers, "latency-ms", ms(0), "Time that a mock attempt takes, in ms, 0 to 600000").clamps()
        .only_with(ProviderName::Mock),
    Setting::new(
        Providers,
        "jitter-ms",
        ms(0),
        "Up to this much more for a mock attempt, in ms, 0 to 600000",
    ).clamps()
    .only_with(ProviderName::Mock),
    Setting::new(Providers, "fail-ratio", Ratio, "Share of mock attempts that are refused, 0 to 1").clamps()
        .only_with(ProviderName::Mock),
    Setting::new(
        Providers,
        "seed",
        Integer { min: 0, max: i64::MAX },
        "Seed of the mock's jitter and failures, 0 or more",
    )
    .only_with(ProviderName::Mock),
    Setting::new(
        Channel,
        "channel",
        Text,
        "The channel: a built-in (see `commentd channels`) or one of --channels-dir",
    )
    .aliases(&["native-upstream-kind"])
    .file_key_is("channel.name")
    .only_with(ProviderName::NativeHttp),
    Setting::new(
        Channel,
        "channel-url",
        Address,
        "Where the channel is: http:// or https://, host, perhaps port and path",
    )
    .aliases(&["native-upstream-base-url"])
    .file_key_is("channel.url")
    .only_with(ProviderName::NativeHttp),
    Setting::new(Channel, "channels-dir", Path, "Directory with manifests of your own (*.toml)")
        .only_with(ProviderName::NativeHttp),
    Setting::new(
        Channel,
        "native-timeout-ms",
        ms(1),
        "Time for one attempt on the channel, connect, headers and body together, in ms, 1 to 600000",
    ).clamps()
    .only_with(ProviderName::NativeHttp),
    Setting::new(
        Channel,
        "proxy",
        Address,
        "HTTP proxy by way of which the channel is reached (CONNECT), http://HOST:PORT; the environment's http_proxy and \
         https_proxy are never looked at; credentials in it (http://USER:PASSWORD@HOST:PORT) better by COMMENTD_PROXY",
    )
    .only_with(ProviderName::NativeHttp),
    Setting::new(
        Channel,
        "tls-ca-file",
        Path,
        "File (PEM) with certificates of authorities of your own that are trusted at an https channel, beside the \
         system's",
    )
    .file_key_is("tls.ca_file")
    .only_with(ProviderName::NativeHttp),
    Setting::new(
        Channel,
        "tls-client-certificate",
        Path,
        "File (PEM) with the certificate, and its chain, that a channel is shown which wants one",
    )
    .file_key_is("tls.client_certificate")
    .only_with(ProviderName::NativeHttp),
    Setting::new(Channel, "tls-client-key", Path, "File (PEM) with that certificate's private key")
        .file_key_is("tls.client_key")
        .only_with(ProviderName::NativeHttp),
    Setting::new(
        Net,
        "real-pipe-name",
        Text,
        "The hook's pipe on Windows, its Unix socket elsewhere; with one, real_hook joins the chain",
    )
    .old_variable("PYWEIXIN_HOOK_PIPE_NAME")
    .only_with(ProviderName::RealHook),
    Setting::new(
        Net,
        "real-pipe-timeout-ms",
        ms(1),
        "Time for one exchange with the hook (connect, status, comment), in ms, 1 to 600000; longer than \
         real-wait-timeout-ms",
    ).clamps()
    .only_with(ProviderName::RealHook),
    Setting::new(
        Net,
        "real-execution-mode",
        OneOf(&["auto", "capture_thread", "pipe_thread"]),
        "The thread on which the hook makes its call; auto: the captured one, the pipe's once that is 10 s old",
    )
    .only_with(ProviderName::RealHook),
    Setting::new(
        Net,
        "real-wait-timeout-ms",
        ms(1),
        "How long the hook itself waits for its call, in ms, 1 to 600000",
    ).clamps()
    .only_with(ProviderName::RealHook),
    Setting::new(Net, "real-arg1-mode", Text, "How the hook makes its call's first argument")
        .only_with(ProviderName::RealHook),
    Setting::new(Net, "real-tls-copy", Switch, "Let the hook copy thread-local storage for its call")
        .only_with(ProviderName::RealHook),
    Setting::new(
        Net,
        "real-latest-sns-id",
        Switch,
        "Send a comment that names neither target nor author to the post captured last; it may be the wrong one",
    )
    .only_with(ProviderName::RealHook),
    Setting::new(
        Net,
        "real-ui-command",
        Text,
        "The UI worker's command, split as a shell would, on Windows as programs there do; with one, real_ui joins \
         the chain",
    )
    .only_with(ProviderName::RealUi),
    Setting::new(
        Net,
        "ui-worker-timeout-ms",
        ms(1),
        "Time for the UI worker to be ready, and again from go to its result, in ms, 1 to 600000",
    )
    .only_with(ProviderName::RealUi),
    Setting::new(
        Limits,
        "default-deadline-ms",
        ms(1),
        "When a caller that names no deadline_ms gets its answer, in ms from receipt, 1 to 600000",
    ),
    Setting::new(
        Limits,
        "max-batch-concurrency",
        Integer { min: 1, max: 1000 },
        "Most comments of one batch under way at a time, 1 to 1000; a request for more is clamped",
    ).clamps(),
    Setting::new(
        Limits,
        "max-in-flight",
        Integer { min: 1, max: 1_000_000 },
        "Most deliveries under way at a time, 1 to 1000000; further requests are answered 503",
    ),
    Setting::new(
        Limits,
        "lookups-per-second",
        Integer { min: 1, max: 10_000 },
        "Most lookups a second that ask the channel what became of unknown comments, 1 to 10000",
    ),
    Setting::new(
        Limits,
        "unknown-as",
        OneOf(&["success", "failure"]),
        "What `ok` and `success` say where the outcome is unknown or misplaced",
    ),
    Setting::new(
        Ledger,
        "ledger",
        Path,
        "The record of deliveries: a file, or memory for tests; unset is commentd.db in the platform's state \
         directory, or memory with --mode mock and with replays",
    ),
    Setting::new(
        Ledger,
        "retention-hours",
        Integer { min: 1, max: 87_600 },
        "How long a settled delivery is kept, in hours, 1 to 87600; unknown ones never expire",
    ),
    Setting::new(
        Ledger,
        "accept-lost-wal",
        Switch,
        "Start though a part of the ledger's write-ahead log is lost: comments whose keys are forgotten with it can be \
         sent again",
    ),
    Setting::new(Ledger, "require-key", Switch, "Refuse requests that bring no idempotency key"),
    Setting::new(
        Access,
        "allowed-host",
        List,
        "Further values of the Host header to answer, without port, separated by commas",
    ),
    Setting::new(
        Access,
        "allow-anonymous",
        Switch,
        "Listen beyond loopback without auth: whoever reaches the port can comment",
    ),
    Setting::new(Access, "auth-user", Text, "User name of HTTP Basic auth, which is also the caller's name"),
    Setting::new(
        Access,
        "auth-password",
        Secret,
        "Password of HTTP Basic auth; better by COMMENTD_AUTH_PASSWORD or COMMENTD_AUTH_PASSWORD_FILE",
    ),
    Setting::new(
        Access,
        "auth-bearer",
        Secret,
        "Bearer tokens, NAME=TOKEN[,NAME=TOKEN], each a caller; better by COMMENTD_AUTH_BEARER or \
         COMMENTD_AUTH_BEARER_FILE",
    ),
    Setting::new(
        Logging,
        "log-level",
        OneOf(&["error", "warn", "info", "debug", "trace"]),
        "How much is logged; comments themselves only from debug on",
    ),
    Setting::new(Logging, "log-format", OneOf(&["human", "json"]), "How a line of the log looks"),
    Setting::new(Old, "native-comment-path", Text, "Same as --set comment_path=…").stands_for("comment_path"),
    Setting::new(Old, "native-batch-path", Text, "No effect: batches always fan out")
        .obsolete("batches always fan out into single comments"),
    Setting::new(
        Old,
        "native-authorization",
        Secret,
        "Same as the channel setting authorization; better by COMMENTD_CHANNEL_AUTHORIZATION",
    )
    .stands_for("authorization"),
    Setting::new(Old, "native-wxbot-wxid", Text, "Same as --set wxid=…").stands_for("wxid"),
    Setting::new(Old, "native-wxbot-api-prefix", Text, "Same as --set api_prefix=…").stands_for("api_prefix"),
    Setting::new(
        Old,
        "native-wxbot-success-code",
        Integer { min: i64::MIN, max: i64::MAX },
        "Same as --set success_code=…",
    )
    .stands_for("success_code"),
    Setting::new(Old, "real-batch-strategy", Text, "No effect: batches always fan out")
        .obsolete(HOOK_BATCHES),
    Setting::new(Old, "real-piggyback-timeout-ms", Text, "No effect: the hook's piggybacking is never used")
        .obsolete(HOOK_BATCHES),
    Setting::new(Old, "real-ui-timeout-ms", Text, "No effect, like every --real-ui-… but the command")
        .obsolete(NO_UI_TUNING),
];

/// Whether the flag, given without its dashes, tuned the UI path of the older sidecar. There were many; all are
/// accepted, and none has an effect.
pub fn is_old_ui_flag(flag: &str) -> bool {
    flag.starts_with("real-ui-")
}

/// What the warning about such a flag says.
pub fn old_ui_warning(flag: &str) -> String {
    format!("--{flag} has no effect: {NO_UI_TUNING}")
}
