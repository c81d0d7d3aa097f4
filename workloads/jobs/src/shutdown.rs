//! How a process is asked to end.

use tokio::signal::unix::{SignalKind, signal as listen};
use tokio_util::sync::CancellationToken;

/// A token that fires at SIGTERM or SIGINT. Needs a running tokio runtime.
///
/// # Panics
/// When the system refuses signal handlers, which leaves no way to stop in order.
pub fn signal() -> CancellationToken {
    let token = CancellationToken::new();
    let mut terminate = listen(SignalKind::terminate()).expect("the system lets a process handle SIGTERM");
    let mut interrupt = listen(SignalKind::interrupt()).expect("the system lets a process handle SIGINT");
    let fired = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        fired.cancel();
    });
    token
}
