//! Rate limits of the profile source: token buckets, one per platform and one per tenant.
//!
//! The buckets are in Redis, so all workers share them. Without Redis each process falls back to
//! a bucket of its own.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use switchyard_contract::SourceLimits;
use switchyard_jobs::{
    cache::{Cache, CacheUnavailable, Taken},
    model::TenantId,
    resilience::full_jitter,
};
use tokio::time::{Instant, sleep};

use crate::metrics::Metrics;

/// Share of the platform's rate that one process uses without Redis. Ten processes together stay
/// within the whole rate.
const LOCAL_SHARE: f64 = 0.1;

/// Limits how often runs are started.
pub struct Throttle {
    cache: Cache,
    limits: SourceLimits,
    /// Replaces the shared buckets while Redis is unavailable.
    local: Mutex<Bucket>,
    metrics: Arc<Metrics>,
}

impl Throttle {
    /// A throttle with `limits`, whose shared buckets are in `cache`.
    pub fn new(cache: Cache, limits: SourceLimits, metrics: Arc<Metrics>) -> Self {
        let rate = per_second(limits.runs_per_minute.min(limits.tenant_runs_per_minute))
            .min(per_second(limits.runs_per_minute) * LOCAL_SHARE);
        Self { cache, limits, local: Mutex::new(Bucket::full(rate, Instant::now())), metrics }
    }

    /// Waits until `tenant` may start a run.
    ///
    /// # Errors
    /// The time until a token is available, if that is after `latest`. Returns at once in that
    /// case.
    pub async fn acquire(&self, tenant: TenantId, latest: Instant) -> Result<(), Duration> {
        let began = Instant::now();
        let acquired = match self.acquire_shared(tenant, latest).await {
            Ok(acquired) => acquired,
            Err(CacheUnavailable) => self.acquire_local(latest).await,
        };
        self.metrics.source_waited(began.elapsed());
        acquired
    }

    async fn acquire_shared(
        &self,
        tenant: TenantId,
        latest: Instant,
    ) -> Result<Result<(), Duration>, CacheUnavailable> {
        let own = (format!("source:{tenant}"), self.limits.tenant_runs_per_minute);
        for (bucket, per_minute) in [own, ("source".to_owned(), self.limits.runs_per_minute)] {
            let rate = per_second(per_minute);
            while let Taken::Wait(wait) = self.cache.take(&bucket, 1, rate, burst(rate)).await? {
                if !sleep_within(wait, latest).await {
                    return Ok(Err(wait));
                }
            }
        }
        Ok(Ok(()))
    }

    async fn acquire_local(&self, latest: Instant) -> Result<(), Duration> {
        let take = || self.local.lock().take(Instant::now());
        while let Some(wait) = take() {
            if !sleep_within(wait, latest).await {
                return Err(wait);
            }
        }
        Ok(())
    }
}

/// Sleeps for `wait`, unless that would end after `latest`; whether it slept.
async fn sleep_within(wait: Duration, latest: Instant) -> bool {
    let in_time = Instant::now() + wait <= latest;
    if in_time {
        // Jitter keeps those who wait for the same token from retrying at the same moment.
        sleep(wait + full_jitter(0)).await;
    }
    in_time
}

fn per_second(per_minute: u32) -> f64 {
    f64::from(per_minute.max(1)) / 60.0
}

/// Capacity of a bucket of `rate` tokens a second: a quarter of a second's tokens, at least one.
/// So no second sees more than 1.25 times the rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at least 1, and the rate is of a u32 per minute"
)]
fn burst(rate: f64) -> u32 {
    (rate / 4.0).max(1.0) as u32
}

/// A token bucket of capacity 1 in this process.
#[derive(Debug)]
struct Bucket {
    /// Tokens per second.
    rate: f64,
    tokens: f64,
    /// When `tokens` was last updated.
    at: Instant,
}

impl Bucket {
    fn full(rate: f64, now: Instant) -> Self {
        Self { rate, tokens: 1.0, at: now }
    }

    /// Takes a token, or returns the time until the next one.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        (self.tokens, self.at) = ((self.tokens + gained).min(1.0), now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - self.tokens) / self.rate))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn local_bucket_never_exceeds_its_rate(
            rate in 0.01f64..50.0, waits in prop::collection::vec(0u64..5_000, 1..200),
        ) {
            let began = Instant::now();
            let (mut now, mut bucket, mut taken) = (began, Bucket::full(rate, began), 0u32);
            for wait in waits {
                now += Duration::from_millis(wait);
                taken += u32::from(bucket.take(now).is_none());
                prop_assert!(f64::from(taken) <= 1.0 + rate * (now - began).as_secs_f64() + 1e-6);
            }
        }

        #[test]
        fn token_is_available_after_the_reported_wait(rate in 0.01f64..50.0) {
            let now = Instant::now();
            let mut bucket = Bucket::full(rate, now);
            prop_assert_eq!(bucket.take(now), None);
            let wait = bucket.take(now).expect("it is empty");
            prop_assert_eq!(bucket.take(now + wait + Duration::from_micros(1)), None);
        }
    }

    #[test]
    fn burst_stays_within_a_quarter_of_the_rate() {
        for per_minute in [240, 300, 1200, 6000] {
            let rate = per_second(per_minute);
            assert!(f64::from(burst(rate)) + rate <= rate * 1.25, "{per_minute} a minute");
        }
        assert_eq!(burst(per_second(1)), 1, "a slow bucket holds one token all the same");
    }

    #[test]
    fn default_rate_stays_below_apifys_actor_limit() {
        let rate = per_second(SourceLimits::default().runs_per_minute);
        assert!(rate + f64::from(burst(rate)) < 30.0);
    }
}
