//! The wish to stop: SIGTERM or Ctrl-C.

/// Ready when the process is asked to stop. It listens from this call on, not from the first poll: whoever reads
/// the start line may ask at once, so this comes before it.
#[cfg(unix)]
pub(crate) fn stop_requested() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async {
        tokio::select! {
            () = came(interrupt) => {}
            () = came(terminate) => {}
        }
    }
}

/// A signal that can't be listened to keeps what it does by default.
#[cfg(unix)]
async fn came(signal: std::io::Result<tokio::signal::unix::Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// Ready when the process is asked to stop. It listens from this call on.
#[cfg(windows)]
pub(crate) fn stop_requested() -> impl Future<Output = ()> {
    let interrupt = tokio::signal::windows::ctrl_c();
    async {
        match interrupt {
            Ok(mut interrupt) => {
                interrupt.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    }
}
