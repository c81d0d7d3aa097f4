//! Polling for conditions, as Gomega's `Eventually` does.

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Time between two probes.
const INTERVAL: Duration = Duration::from_millis(250);

/// Calls `probe` until it succeeds. `what` names the expected state in the error.
///
/// # Errors
/// The last error of `probe`, if it still fails after `limit`.
pub async fn eventually<T, F, Fut>(limit: Duration, what: impl Display, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let begun = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(error) if begun.elapsed() > limit => bail!("{what}: not within {limit:?}; last: {error:#}"),
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}
