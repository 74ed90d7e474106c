//! Every setting of `serve`, in one table. The command line, the environment, `commentd.toml` and `config show` are made
//! from it, and so is [`Settings`], by whose fields the checks read them. The defaults stand in `commentd.default.toml`,
//! and a test keeps the two in step.

use super::entry::{SettingEntry, SettingValue};
use super::setting::{Heading, Setting};
use super::types::{Address, Int, List, Ms, Path, Ratio, Secret, SettingType, Switch, Text, Word};
use super::words::{ExchangeMode, LogFormat, UnknownAs};
use ProviderName::{Mock, NativeHttp, RealHook, RealUi};
use commentd_contract::ProviderName;
use commentd_providers::hook_pipe::ExecutionMode;
use tracing::Level;

/// Makes of a table of settings: [`SETTINGS`], what each is; [`Settings`], what was written for each. A row is the help
/// (with unit and range; the default is appended where it is shown), the name (as a flag, with dashes), the type, and
/// options (see [`Setting`]).
macro_rules! settings {
    ($($heading:ident: $($(#[doc = $help:literal])+ $name:ident: $type:ty $(=> $($option:ident: $value:expr),+)?;)+)+) => {
        #[allow(non_upper_case_globals, reason = "a row is named as its field")]
        mod rows {
            use super::*;
            $($(
                pub(super) static $name: Setting = {
                    const FLAG: [u8; stringify!($name).len()] = with_dashes(stringify!($name));
                    Setting {
                        heading: Heading::$heading,
                        name: as_text(&FLAG),
                        kind: <$type>::KIND,
                        help: concat!($($help),+).trim_ascii_start(),
                        $($($option: $value,)+)?
                        ..Setting::PLAIN
                    }
                };
            )+)+
        }

        /// Every setting, in the order of the help.
        pub(super) static SETTINGS: &[&Setting] = &[$($(&rows::$name,)+)+];

        /// What was written for each setting, not yet checked.
        #[derive(Clone)]
        pub(super) struct Settings {
            $($(pub(super) $name: SettingValue<$type>,)+)+
        }

        impl Settings {
            /// Asks for each setting's entry.
            pub(super) fn collect(mut entry_of: impl FnMut(&'static Setting) -> SettingEntry) -> Self {
                Self { $($($name: SettingValue::new(entry_of(&rows::$name)),)+)+ }
            }

            /// All entries, in the order of [`SETTINGS`].
            pub(super) fn entries(&self) -> impl Iterator<Item = &SettingEntry> {
                [$($(&*self.$name,)+)+].into_iter()
            }
        }
    };
}

/// A field's name as a flag.
#[allow(clippy::indexing_slicing, reason = "it runs when it is compiled, where iterators can't")]
const fn with_dashes<const N: usize>(name: &str) -> [u8; N] {
    let (mut flag, mut at) = ([0; N], 0);
    while at < N {
        let byte = name.as_bytes()[at];
        flag[at] = if byte == b'_' { b'-' } else { byte };
        at += 1;
    }
    flag
}

const fn as_text(flag: &'static [u8]) -> &'static str {
    match std::str::from_utf8(flag) {
        Ok(text) => text,
        Err(_) => "",
    }
}

const HOOK_BATCHES: &str = "the hook's batch and piggyback commands are never used: they crash its client";
const NO_UI_TUNING: &str = "the UI worker is a process of its own, which has its own settings";

settings! {
    Listening:
    /// Address or host name to listen on
    host: Text;
    /// Port to listen on, 0 to 65535; 0 takes a free one, which the start line names
    port: Int<u16, 0, 65_535>;

    Providers:
    /// The primary provider: it gets every comment first
    mode: Word<ProviderName>;
    /// The providers after the primary one, in order, separated by commas; none for none; unset for those that are
    /// configured
    fallback: List;
    /// What happens to requests: live sends them, dry-run renders and validates them and sends nothing, record sends
    /// them and keeps them in the cassette, replay answers them from it
    exchange: Word<ExchangeMode>;
    /// File of recorded exchanges (HAR), for record and replay
    cassette: Path;
    /// Time that a mock attempt takes, in ms, 0 to 600000
    latency_ms: Ms<0> => clamps: true, only_with: Some(Mock);
    /// Up to this much more for a mock attempt, in ms, 0 to 600000
    jitter_ms: Ms<0> => clamps: true, only_with: Some(Mock);
    /// Share of mock attempts that are refused, 0 to 1
    fail_ratio: Ratio => clamps: true, only_with: Some(Mock);
    /// Seed of the mock's jitter and failures, 0 or more
    seed: Int<u64, 0, { i64::MAX }> => only_with: Some(Mock);

    Channel:
    /// The channel: a built-in (see `commentd channels`) or one of --channels-dir
    channel: Text => aliases: &["native-upstream-kind"], file_key: Some("channel.name"), only_with: Some(NativeHttp);
    /// Where the channel is: http:// or https://, host, perhaps port and path
    channel_url: Address =>
        aliases: &["native-upstream-base-url"], file_key: Some("channel.url"), only_with: Some(NativeHttp);
    /// Directory with manifests of your own (*.toml)
    channels_dir: Path => only_with: Some(NativeHttp);
    /// Time for one attempt on the channel, connect, headers and body together, in ms, 1 to 600000
    native_timeout_ms: Ms<1> => clamps: true, only_with: Some(NativeHttp);
    /// HTTP proxy by way of which the channel is reached (CONNECT), http://HOST:PORT; the environment's http_proxy and
    /// https_proxy are never looked at; credentials in it (http://USER:PASSWORD@HOST:PORT) better by COMMENTD_PROXY
    proxy: Address => only_with: Some(NativeHttp);
    /// File (PEM) with certificates of authorities of your own that are trusted at an https channel, beside the
    /// system's
    tls_ca_file: Path => file_key: Some("tls.ca_file"), only_with: Some(NativeHttp);
    /// File (PEM) with the certificate, and its chain, that a channel is shown which wants one
    tls_client_certificate: Path => file_key: Some("tls.client_certificate"), only_with: Some(NativeHttp);
    /// File (PEM) with that certificate's private key
    tls_client_key: Path => file_key: Some("tls.client_key"), only_with: Some(NativeHttp);

    HookAndUi:
    /// The hook's pipe on Windows, its Unix socket elsewhere; with one, real_hook joins the chain
    real_pipe_name: Text => old_variable: Some("PYWEIXIN_HOOK_PIPE_NAME"), only_with: Some(RealHook);
    /// Time for one exchange with the hook (connect, status, comment), in ms, 1 to 600000; longer than
    /// real-wait-timeout-ms
    real_pipe_timeout_ms: Ms<1> => clamps: true, only_with: Some(RealHook);
    /// The thread on which the hook makes its call; auto: the captured one, the pipe's once that is 10 s old
    real_execution_mode: Word<ExecutionMode> => only_with: Some(RealHook);
    /// How long the hook itself waits for its call, in ms, 1 to 600000
    real_wait_timeout_ms: Ms<1> => clamps: true, only_with: Some(RealHook);
    /// How the hook makes its call's first argument
    real_arg1_mode: Text => only_with: Some(RealHook);
    /// Let the hook copy thread-local storage for its call
    real_tls_copy: Switch => only_with: Some(RealHook);
    /// Send a comment that names neither target nor author to the post captured last; it may be the wrong one
    real_latest_sns_id: Switch => only_with: Some(RealHook);
    /// The UI worker's command, split as a shell would, on Windows as programs there do; with one, real_ui joins the
    /// chain
    real_ui_command: Text => only_with: Some(RealUi);
    /// Time for the UI worker to be ready, and again from go to its result, in ms, 1 to 600000
    ui_worker_timeout_ms: Ms<1> => only_with: Some(RealUi);

    Limits:
    /// When a caller that names no deadline_ms gets its answer, in ms from receipt, 1 to 600000
    default_deadline_ms: Ms<1>;
    /// Most comments of one batch under way at a time, 1 to 1000; a request for more is clamped
    max_batch_concurrency: Int<usize, 1, 1000> => clamps: true;
    /// Most deliveries under way at a time, 1 to 1000000; further requests are answered 503
    max_in_flight: Int<usize, 1, 1_000_000>;
    /// Most lookups a second that ask the channel what became of unknown comments, 1 to 10000
    lookups_per_second: Int<u32, 1, 10_000>;
    /// What `ok` and `success` say where the outcome is unknown or misplaced
    unknown_as: Word<UnknownAs>;

    Ledger:
    /// The record of deliveries: a file, or memory for tests; unset is commentd.db in the platform's state directory,
    /// or memory with --mode mock and with replays
    ledger: Path;
    /// How long a settled delivery is kept, in hours, 1 to 87600; unknown ones never expire
    retention_hours: Int<u64, 1, 87_600>;
    /// Start though a part of the ledger's write-ahead log is lost: comments whose keys are forgotten with it can be
    /// sent again
    accept_lost_wal: Switch;
    /// Refuse requests that bring no idempotency key
    require_key: Switch;

    Access:
    /// Further values of the Host header to answer, without port, separated by commas
    allowed_host: List;
    /// Listen beyond loopback without auth: whoever reaches the port can comment
    allow_anonymous: Switch;
    /// User name of HTTP Basic auth, which is also the caller's name
    auth_user: Text;
    /// Password of HTTP Basic auth; better by COMMENTD_AUTH_PASSWORD or COMMENTD_AUTH_PASSWORD_FILE
    auth_password: Secret;
    /// Bearer tokens, NAME=TOKEN[,NAME=TOKEN], each a caller; better by COMMENTD_AUTH_BEARER or
    /// COMMENTD_AUTH_BEARER_FILE
    auth_bearer: Secret;

    Logging:
    /// How much is logged; comments themselves only from debug on
    log_level: Word<Level>;
    /// How a line of the log looks
    log_format: Word<LogFormat>;

    Old:
    /// Same as --set comment_path=…
    native_comment_path: Text => channel_setting: Some("comment_path"), only_with: Some(NativeHttp);
    /// No effect: batches always fan out
    native_batch_path: Text => obsolete: Some("batches always fan out into single comments");
    /// Same as the channel setting authorization; better by COMMENTD_CHANNEL_AUTHORIZATION
    native_authorization: Secret => channel_setting: Some("authorization"), only_with: Some(NativeHttp);
    /// Same as --set wxid=…
    native_wxbot_wxid: Text => channel_setting: Some("wxid"), only_with: Some(NativeHttp);
    /// Same as --set api_prefix=…
    native_wxbot_api_prefix: Text => channel_setting: Some("api_prefix"), only_with: Some(NativeHttp);
    /// Same as --set success_code=…
    native_wxbot_success_code: Int<i64, { i64::MIN }, { i64::MAX }> =>
        channel_setting: Some("success_code"), only_with: Some(NativeHttp);
    /// No effect: batches always fan out
    real_batch_strategy: Text => obsolete: Some(HOOK_BATCHES);
    /// No effect: the hook's piggybacking is never used
    real_piggyback_timeout_ms: Text => obsolete: Some(HOOK_BATCHES);
    /// No effect, like every --real-ui-… but the command
    real_ui_timeout_ms: Text => obsolete: Some(NO_UI_TUNING);
}

/// The setting with this flag, given without its dashes; old flags are known too.
pub(super) fn find(flag: &str) -> Option<&'static Setting> {
    SETTINGS.iter().copied().find(|setting| setting.is_called(flag))
}

/// Whether the flag, given without its dashes, tuned the UI path of the older sidecar. There were many; all are
/// accepted, and none has an effect.
pub(super) fn is_old_ui_flag(flag: &str) -> bool {
    flag.starts_with("real-ui-")
}

/// What the warning about such a flag says.
pub(super) fn old_ui_warning(flag: &str) -> String {
    format!("--{flag} has no effect: {NO_UI_TUNING}")
}
