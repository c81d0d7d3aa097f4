//! Limits on concurrent work: requests in flight, and open event streams.
//!
//! Work beyond a limit is refused early, in time to send the caller a `Retry-After`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use switchyard_jobs::model::TenantId;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::problem::{Problem, ProblemType};

/// `Retry-After` of a request that found no permit.
const REQUEST_RETRY_AFTER: Duration = Duration::from_secs(1);
/// `Retry-After` of a stream that found no permit. Streams are long.
const STREAM_RETRY_AFTER: Duration = Duration::from_secs(10);

/// Limits the requests in flight.
///
/// tower's `ConcurrencyLimit` waits without an end and its `LoadShed` does not wait at all; this
/// one waits for a time.
pub struct ConcurrencyLimiter {
    permits: Semaphore,
    max: usize,
    wait: Duration,
}

impl ConcurrencyLimiter {
    /// Allows `max` requests at once; others wait for up to `wait`, in the order of their arrival.
    pub fn new(max: usize, wait: Duration) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Semaphore::new(max), max, wait }
    }

    /// Acquires a permit, which is released when it is dropped.
    ///
    /// # Errors
    /// `unavailable` if no permit is released within the limiter's wait or within `limit`.
    pub async fn acquire(&self, limit: Duration) -> Result<SemaphorePermit<'_>, Problem> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        match tokio::time::timeout(self.wait.min(limit), self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Problem::unavailable("The server is overloaded. The request had no effect; try again.")
                .retry_after(REQUEST_RETRY_AFTER)),
        }
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.max - self.permits.available_permits()
    }
}

/// Limits the open event streams, in all and by tenant.
pub struct StreamLimiter {
    max: usize,
    max_by_tenant: usize,
    open: Mutex<OpenStreams>,
}

#[derive(Default)]
struct OpenStreams {
    total: usize,
    by_tenant: HashMap<TenantId, usize>,
}

impl StreamLimiter {
    /// Allows `max` streams in all and `max_by_tenant` of one tenant.
    pub fn new(max: usize, max_by_tenant: usize) -> Arc<Self> {
        Arc::new(Self { max, max_by_tenant, open: Mutex::default() })
    }

    /// Acquires a permit for one stream.
    ///
    /// # Errors
    /// `rate-limited` if the tenant has too many streams, `unavailable` if the server has.
    pub fn acquire(self: &Arc<Self>, tenant: TenantId) -> Result<StreamPermit, Problem> {
        let mut open = self.open.lock();
        if open.by_tenant.get(&tenant).is_some_and(|own| *own >= self.max_by_tenant) {
            let detail = format!("The tenant has {} open event streams, which is the limit.", self.max_by_tenant);
            return Err(Problem::new(ProblemType::RateLimited, detail).retry_after(STREAM_RETRY_AFTER));
        }
        if open.total >= self.max {
            let detail = "The server has too many open event streams. Read the job instead, or try again.";
            return Err(Problem::unavailable(detail).retry_after(STREAM_RETRY_AFTER));
        }
        open.total += 1;
        *open.by_tenant.entry(tenant).or_default() += 1;
        Ok(StreamPermit { limiter: self.clone(), tenant })
    }
}

/// The permit of one open event stream; released when it is dropped.
pub struct StreamPermit {
    limiter: Arc<StreamLimiter>,
    tenant: TenantId,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.limiter.open.lock();
        open.total -= 1;
        if let Some(own) = open.by_tenant.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                open.by_tenant.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_request_over_the_limit_waits_and_is_refused_when_no_permit_is_released() {
        let limiter = ConcurrencyLimiter::new(1, SHORT);
        let permit = limiter.acquire(LONG).await.unwrap();
        assert_eq!(limiter.in_flight(), 1);
        let began = tokio::time::Instant::now();
        let refused = limiter.acquire(LONG).await.expect_err("the only permit is taken");
        assert_eq!(refused.kind, ProblemType::Unavailable);
        assert!(began.elapsed() < LONG);
        let ((), acquired) = tokio::join!(async { drop(permit) }, limiter.acquire(LONG));
        drop(acquired.expect("the permit was released"));
    }

    #[test]
    fn streams_are_limited_in_all_and_by_tenant() {
        let limiter = StreamLimiter::new(3, 2);
        let tenant = || TenantId(Uuid::new_v4());
        let (one, other) = (tenant(), tenant());
        let first = limiter.acquire(one).expect("a permit");
        let _second = limiter.acquire(one).expect("a permit");
        assert_eq!(limiter.acquire(one).err().map(|problem| problem.kind), Some(ProblemType::RateLimited));
        let _third = limiter.acquire(other).expect("a permit");
        assert_eq!(limiter.acquire(other).err().map(|problem| problem.kind), Some(ProblemType::Unavailable));
        drop(first);
        assert!(limiter.acquire(other).is_ok());
    }
}
