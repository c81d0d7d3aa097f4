//! Leave to ask the profile source: it has to be well, and it has to be the tenant's turn.

use std::time::Duration;

use switchyard_jobs::{
    model::TenantId,
    resilience::{Breaker, Permit, breaker::State, full_jitter},
};
use tokio::time::{Instant, sleep};

use crate::{apify::SourceError, throttle::Throttle};

/// How long a job waits for its turn as a probe of a source that may be well again.
const PROBING: Duration = Duration::from_secs(10);

/// What stands before the source.
pub struct Gate {
    pub breaker: Breaker,
    pub throttle: Throttle,
}

impl Gate {
    /// Waits for leave to start a run, at `latest` or earlier; no longer than that is worth it. Where there would be none in time the error says when
    /// to come back.
    pub async fn enter(&self, tenant: TenantId, latest: Instant) -> Result<Permit, SourceError> {
        let permit = self.admitted(latest.min(Instant::now() + PROBING)).await?;
        match self.throttle.pass(tenant, latest).await {
            Ok(()) => Ok(permit),
            Err(retry_after) => Err(SourceError::Throttled { retry_after }),
        }
    }

    async fn admitted(&self, latest: Instant) -> Result<Permit, SourceError> {
        loop {
            let open = match self.breaker.admit() {
                Ok(permit) => return Ok(permit),
                Err(open) => open,
            };
            let probing = self.breaker.state() == State::HalfOpen;
            if !probing || Instant::now() + open.retry_after > latest {
                return Err(SourceError::Resting { retry_after: open.retry_after });
            }
            sleep(open.retry_after + full_jitter(1)).await;
        }
    }
}
