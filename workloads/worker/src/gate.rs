//! Leave to ask the profile source: it has to be well, and it has to be the tenant's turn.

use std::time::Duration;

use switchyard_jobs::{
    model::TenantId,
    resilience::{Breaker, Permit, full_jitter},
};
use tokio::time::{Instant, sleep};

use crate::{apify::SourceError, throttle::Throttle};

/// How long a job waits for a source that is left alone, or for its turn as a probe of one that may be well again: a failed attempt costs more.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands before the source.
pub struct Gate {
    pub breaker: Breaker,
    pub throttle: Throttle,
}

impl Gate {
    /// Waits for leave to start a run, until `latest` and no longer. Where there would be none in time the error says when to come back.
    ///
    /// The turn comes first: who waits for it must not hold the place of a probe.
    pub async fn enter(&self, tenant: TenantId, latest: Instant) -> Result<Permit, SourceError> {
        let turn = self.throttle.pass(tenant, latest).await;
        turn.map_err(|retry_after| SourceError::Throttled { retry_after })?;
        self.admitted(latest.min(Instant::now() + PATIENCE)).await
    }

    async fn admitted(&self, latest: Instant) -> Result<Permit, SourceError> {
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
