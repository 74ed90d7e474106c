//! The fallback providers: how hook and UI worker are reached.

use super::findings::Findings;
use super::ledger::LedgerChoice;
use super::settings::Settings;
use commentd_contract::ProviderName;
use commentd_providers::hook_pipe::{HookOptions, WINDOWS_PIPE};
use commentd_providers::ui_worker::{UiOptions, split_command};

/// Whether there is a hook to fall back to without its being named: on Windows the pipe has a usual name.
pub(super) fn is_configured(settings: &Settings, provider: ProviderName) -> bool {
    match provider {
        ProviderName::RealHook => cfg!(windows) || !settings.real_pipe_name.get().is_empty(),
        ProviderName::RealUi => !settings.real_ui_command.get().is_empty(),
        ProviderName::Mock | ProviderName::NativeHttp => false,
    }
}

/// How the hook is spoken to.
pub(super) fn hook(settings: &Settings, findings: &mut Findings) -> Option<HookOptions> {
    let pipe_name = match settings.real_pipe_name.get() {
        "" if cfg!(windows) => WINDOWS_PIPE.to_owned(),
        "" => {
            findings.missing(&settings.real_pipe_name, "real_hook needs the path of the hook's socket");
            return None;
        }
        name if cfg!(windows) && !name.starts_with(r"\\") => format!(r"\\.\pipe\{name}"),
        name => name.to_owned(),
    };
    let (timeout_ms, wait_timeout_ms) =
        (settings.real_pipe_timeout_ms.get(), settings.real_wait_timeout_ms.get());
    if timeout_ms <= wait_timeout_ms {
        findings.warn(format!(
            "--real-pipe-timeout-ms ({timeout_ms}) leaves the hook no time to answer: it waits up to \
             --real-wait-timeout-ms ({wait_timeout_ms}) by itself, and comments that take so long end as unknown"
        ));
    }
    Some(HookOptions {
        pipe_name,
        timeout_ms,
        execution_mode: settings.real_execution_mode.get(),
        wait_timeout_ms,
        arg1_mode: settings.real_arg1_mode.get().to_owned(),
        tls_copy: settings.real_tls_copy.get(),
        latest_sns_id: settings.real_latest_sns_id.get(),
    })
}

/// What is added to the ledger's name for the file that says which UI worker runs.
const WORKER_MARK: &str = ".ui-worker";

/// How the UI worker is run. Beside a ledger, which only one process has at a time, it leaves its mark for the next.
pub(super) fn ui(settings: &Settings, findings: &mut Findings, ledger: &LedgerChoice) -> Option<UiOptions> {
    let text = settings.real_ui_command.get();
    if text.is_empty() {
        findings.missing(&settings.real_ui_command, "real_ui needs the command of its worker");
        return None;
    }
    let Some(command) = split_command(text) else {
        findings.error(
            &settings.real_ui_command,
            "can't be split into words: it has none, or a quote isn't closed",
        );
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
    Some(UiOptions { command, timeout_ms: settings.ui_worker_timeout_ms.get(), mark })
}
