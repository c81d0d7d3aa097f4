//! Admission to the profile source: a circuit breaker and rate limits in front of every run.

use std::time::Duration;

use switchyard_jobs::{
    model::TenantId,
    resilience::{Breaker, Permit, full_jitter},
};
use tokio::time::{Instant, sleep};

use crate::{apify::SourceError, throttle::Throttle};

/// Longest wait for the breaker to admit a call. Waiting costs less than a failed attempt.
const MAX_BREAKER_WAIT: Duration = Duration::from_secs(10);

/// Admits runs of the profile source.
pub struct SourceGuard {
    pub breaker: Breaker,
    pub throttle: Throttle,
}

impl SourceGuard {
    /// Waits until `tenant` may start a run, no longer than until `latest`.
    ///
    /// The rate limit comes first, so that a job that waits for it does not occupy a probe of a
    /// half-open breaker.
    ///
    /// # Errors
    /// [`SourceError::Throttled`] or [`SourceError::Resting`] if no run may start before `latest`.
    /// Both say when to retry.
    pub async fn acquire(&self, tenant: TenantId, latest: Instant) -> Result<Permit, SourceError> {
        let throttled = self.throttle.acquire(tenant, latest).await;
        throttled.map_err(|retry_after| SourceError::Throttled { retry_after })?;
        self.admit(latest.min(Instant::now() + MAX_BREAKER_WAIT)).await
    }

    async fn admit(&self, latest: Instant) -> Result<Permit, SourceError> {
        loop {
            let open = match self.breaker.admit() {
                Ok(permit) => return Ok(permit),
                Err(open) => open,
            };
            if Instant::now() + open.retry_after > latest {
                return Err(SourceError::Resting { retry_after: open.retry_after });
            }
            sleep(open.retry_after + full_jitter(1)).await;
        }
    }
}
