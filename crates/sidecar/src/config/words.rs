//! The settings that are one of a few words.

use commentd_contract::ProviderName;
use commentd_providers::hook_pipe::ExecutionMode;
use tracing::Level;

/// A type whose values have words.
pub(super) trait Words: Copy + 'static {
    /// The words.
    const WORDS: &'static [&'static str];
    /// Their values, in the same order.
    const VALUES: &'static [Self];
    /// What a check goes on with after a wrong word.
    const IN_DOUBT: Self;
}

macro_rules! words {
    ($type:ident, else $else:ident: $($word:literal => $value:ident),+) => {
        impl Words for $type {
            const WORDS: &'static [&'static str] = &[$($word),+];
            const VALUES: &'static [Self] = &[$($type::$value),+];
            const IN_DOUBT: Self = $type::$else;
        }
    };
}

words!(ProviderName, else NativeHttp:
    "mock" => Mock, "native_http" => NativeHttp, "real_hook" => RealHook, "real_ui" => RealUi);
words!(ExchangeMode, else Live: "live" => Live, "dry-run" => DryRun, "record" => Record, "replay" => Replay);
words!(ExecutionMode, else Auto:
    "auto" => Auto, "capture_thread" => CaptureThread, "pipe_thread" => PipeThread);
words!(UnknownAs, else Failure: "success" => Success, "failure" => Failure);
words!(Level, else INFO:
    "error" => ERROR, "warn" => WARN, "info" => INFO, "debug" => DEBUG, "trace" => TRACE);
words!(LogFormat, else Human: "human" => Human, "json" => Json);

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExchangeMode {
    Live,
    DryRun,
    Record,
    Replay,
}

/// What `ok` and `success` say where the outcome is `unknown` or `misplaced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownAs {
    /// True.
    Success,
    /// False.
    Failure,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
