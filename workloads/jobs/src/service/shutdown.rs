//! Shutdown signals of a pod.

use tokio::signal::unix::{SignalKind, signal as listen};
use tokio_util::sync::CancellationToken;

/// Returns a token that is cancelled at SIGTERM or SIGINT. Needs a running tokio runtime.
///
/// # Panics
/// When the system refuses signal handlers: the process could not shut down gracefully.
pub fn signal() -> CancellationToken {
    let token = CancellationToken::new();
    let mut terminate = listen(SignalKind::terminate()).expect("the system lets a process handle SIGTERM");
    let mut interrupt = listen(SignalKind::interrupt()).expect("the system lets a process handle SIGINT");
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("received shutdown signal");
        cancelled.cancel();
    });
    token
}
