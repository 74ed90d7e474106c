//! The net below the main path: how hook and UI worker are reached.

use super::checked::LedgerChoice;
use super::values::Values;
use commentd_contract::ProviderName;
use commentd_providers::hook_pipe::{ExecutionMode, HookOptions, WINDOWS_PIPE};
use commentd_providers::ui_worker::{UiOptions, split_command};

/// Whether there is a hook to fall back to without its being named: on Windows the pipe has a usual name.
pub(super) fn is_configured(values: &Values<'_>, provider: ProviderName) -> bool {
    match provider {
        ProviderName::RealHook => cfg!(windows) || !values.text("real-pipe-name").is_empty(),
        ProviderName::RealUi => !values.text("real-ui-command").is_empty(),
        ProviderName::Mock | ProviderName::NativeHttp => false,
    }
}

/// How the hook is spoken to.
pub(super) fn hook(values: &mut Values<'_>) -> Option<HookOptions> {
    let pipe_name = match values.text("real-pipe-name") {
        "" if cfg!(windows) => WINDOWS_PIPE.to_owned(),
        "" => {
            values.missing("real-pipe-name", "real_hook needs the path of the hook's socket");
            return None;
        }
        name if cfg!(windows) && !name.starts_with(r"\\") => format!(r"\\.\pipe\{name}"),
        name => name.to_owned(),
    };
    let (timeout_ms, wait_timeout_ms) =
        (values.integer("real-pipe-timeout-ms"), values.integer("real-wait-timeout-ms"));
    if timeout_ms <= wait_timeout_ms {
        values.warn(format!(
            "--real-pipe-timeout-ms ({timeout_ms}) leaves the hook no time to answer: it waits up to \
             --real-wait-timeout-ms ({wait_timeout_ms}) by itself, and comments that take so long end as unknown"
        ));
    }
    Some(HookOptions {
        pipe_name,
        timeout_ms,
        execution_mode: ExecutionMode::named(values.word("real-execution-mode")),
        wait_timeout_ms,
        arg1_mode: values.text("real-arg1-mode").to_owned(),
        tls_copy: values.switch("real-tls-copy"),
        latest_sns_id: values.switch("real-latest-sns-id"),
    })
}

/// What is added to the ledger's name for the file that says which UI worker runs.
const WORKER_MARK: &str = ".ui-worker";

/// How the UI worker is run. Beside a ledger, which only one process has at a time, it leaves its mark for the next.
pub(super) fn ui(values: &mut Values<'_>, ledger: &LedgerChoice) -> Option<UiOptions> {
    let text = values.text("real-ui-command");
    if text.is_empty() {
        values.missing("real-ui-command", "real_ui needs the command of its worker");
        return None;
    }
    let Some(command) = split_command(text) else {
        values.error("real-ui-command", "can't be split into words: it has none, or a quote isn't closed");
        return None;
    };
    let mark = match ledger {
        LedgerChoice::File { path, .. } => {
            let mut name = path.as_os_str().to_owned();
            name.push(WORKER_MARK);
            Some(name.into())
        }
        LedgerChoice::Memory => None,
    };
    Some(UiOptions { command, timeout_ms: values.integer("ui-worker-timeout-ms"), mark })
}
