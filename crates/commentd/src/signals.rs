//! Signals that ask the process to stop. The first starts a drain, a second ends the process at once.

use crate::console;
use std::time::Duration;
use tokio::sync::watch;

/// How long a second one waits for the last lines of the log.
const LAST_LINES: Duration = Duration::from_millis(100);

/// Ready when the process is asked to stop. It listens from this call on, not from the first poll: whoever reads the
/// start line may ask at once, so this comes before it. Call it within a runtime.
pub(crate) fn stop_requested() -> impl Future<Output = ()> {
    let (asked, mut hears) = watch::channel(false);
    listen(asked);
    async move {
        if hears.wait_for(|asked| *asked).await.is_err() {
            // Nothing can be listened to, and every signal does what it does by default.
            std::future::pending::<()>().await;
        }
    }
}

/// Takes one request to stop. `code` is what the process ends with if it is the second.
fn stop_asked(asked: &watch::Sender<bool>, code: Option<i32>) {
    let is_second = asked.send_replace(true);
    if let Some(code) = code.filter(|_| is_second) {
        console::warn("asked to stop once more: ends at once; what is open is unknown at the next start");
        console::flush(LAST_LINES);
        std::process::exit(code);
    }
}

#[cfg(unix)]
fn listen(asked: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    // A terminal that goes away says so twice, which doesn't count as a second.
    for (kind, can_be_second) in
        [(SignalKind::interrupt(), true), (SignalKind::terminate(), true), (SignalKind::hangup(), false)]
    {
        let number = kind.as_raw_value();
        if kind != SignalKind::terminate() && was_ignored(number) {
            continue;
        }
        // One that can't be listened to keeps what it does by default.
        let Ok(mut signal) = signal(kind) else { continue };
        let asked = asked.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                stop_asked(&asked, can_be_second.then_some(128 + number));
            }
        });
    }
    // These end a process that doesn't know them, and ask us for nothing. A file that may not grow (SIGXFSZ) shows as
    // an error of the write.
    const FILE_IS_TOO_LARGE: i32 = 25;
    for kind in
        [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::from_raw(FILE_IS_TOO_LARGE)]
    {
        drop(signal(kind));
    }
}

/// Whether whoever started us wants this signal to be ignored, as `nohup` does. Known on Linux only.
#[cfg(unix)]
fn was_ignored(number: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(windows)]
fn listen(asked: watch::Sender<bool>) {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    macro_rules! hear {
        ($($signal:ident => $code:expr;)*) => {$(
            if let Ok(mut signal) = $signal() {
                let asked = asked.clone();
                tokio::spawn(async move {
                    while signal.recv().await.is_some() {
                        stop_asked(&asked, $code);
                    }
                });
            }
        )*};
    }
    hear! {
        ctrl_c => Some(130);
        ctrl_break => Some(131);
        ctrl_close => None;
        ctrl_shutdown => None;
    }
}
