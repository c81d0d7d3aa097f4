//! Waiting for a service that may still be starting.

use std::time::Duration;

use super::error::{Component, SetupError};

/// How long the setup waits for each component.
const REACH_TIMEOUT: Duration = Duration::from_secs(20);
/// Wait between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The outcome of one attempt to reach a component.
pub(super) enum Attempt<T> {
    Reached(T),
    /// A retry may succeed.
    Retry(String),
    /// No retry can succeed.
    Fatal(String),
}

/// Repeats `attempt` until it succeeds, fails for good, or 20 s have passed.
pub(super) async fn reach<T, F>(component: Component, attempt: impl Fn() -> F) -> Result<T, SetupError>
where
    F: Future<Output = Attempt<T>>,
{
    let until = tokio::time::Instant::now() + REACH_TIMEOUT;
    loop {
        match attempt().await {
            Attempt::Reached(value) => return Ok(value),
            Attempt::Fatal(message) => return Err(SetupError::new(component, message)),
            Attempt::Retry(message) if tokio::time::Instant::now() >= until => {
                return Err(SetupError::new(component, message));
            }
            Attempt::Retry(message) => tracing::info!(?component, message, "not reachable yet"),
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
