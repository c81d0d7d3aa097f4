//! How fast the profile source may be asked: token buckets in Redis, one for everybody and one for each tenant, that all workers share.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use switchyard_contract::SourceLimits;
use switchyard_jobs::{
    cache::{Cache, CacheUnavailable, Taken},
    model::TenantId,
    resilience::full_jitter,
};
use tokio::time::{Instant, sleep};

use crate::metrics::Metrics;

/// While Redis is away each process keeps to this part of the whole rate: as many processes stay below it together.
const SHARE: f64 = 0.1;

/// Tells when a run may be started.
pub struct Throttle {
    cache: Cache,
    limits: SourceLimits,
    /// What this process may do by itself while Redis is away.
    alone: Mutex<Bucket>,
    metrics: Arc<Metrics>,
}

impl Throttle {
    pub fn new(cache: Cache, limits: SourceLimits, metrics: Arc<Metrics>) -> Self {
        let rate = per_second(limits.runs_per_minute.min(limits.tenant_runs_per_minute))
            .min(per_second(limits.runs_per_minute) * SHARE);
        Self { cache, limits, alone: Mutex::new(Bucket::full(rate, Instant::now())), metrics }
    }

    /// Waits until `tenant` may start a run. Gives up at once when that is after `latest`: the error is the time until it is worth asking again.
    pub async fn pass(&self, tenant: TenantId, latest: Instant) -> Result<(), Duration> {
        let began = Instant::now();
        let passed = match self.together(tenant, latest).await {
            Ok(passed) => passed,
            Err(CacheUnavailable) => self.alone(latest).await,
        };
        self.metrics.source_waited(began.elapsed());
        passed
    }

    /// By the buckets that all workers share.
    async fn together(&self, tenant: TenantId, latest: Instant) -> Result<Result<(), Duration>, CacheUnavailable> {
        let own = (format!("source:{tenant}"), self.limits.tenant_runs_per_minute);
        for (bucket, per_minute) in [own, ("source".to_owned(), self.limits.runs_per_minute)] {
            let rate = per_second(per_minute);
            while let Taken::Wait(wait) = self.cache.take(&bucket, 1, rate, burst(rate)).await? {
                if !rests(wait, latest).await {
                    return Ok(Err(wait));
                }
            }
        }
        Ok(Ok(()))
    }

    /// By this process' own bucket.
    async fn alone(&self, latest: Instant) -> Result<(), Duration> {
        let take = || self.alone.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        while let Some(wait) = take() {
            if !rests(wait, latest).await {
                return Err(wait);
            }
        }
        Ok(())
    }
}

/// Rests for `wait`, unless that is past `latest`.
async fn rests(wait: Duration, latest: Instant) -> bool {
    let in_time = Instant::now() + wait <= latest;
    if in_time {
        // Those who wait for the same token do not all ask at the same moment.
        sleep(wait + full_jitter(0)).await;
    }
    in_time
}

fn per_second(per_minute: u32) -> f64 {
    f64::from(per_minute.max(1)) / 60.0
}

/// A quarter of a second's tokens may be taken at once, so that no second sees more than 1.25 times the rate; at least one.
fn burst(rate: f64) -> u32 {
    (rate / 4.0).max(1.0) as u32
}

/// A bucket in this process.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: f64, now: Instant) -> Self {
        Self { rate, tokens: 1.0, at: now }
    }

    /// Takes a token, or tells when there will be one.
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
        fn a_process_by_itself_never_takes_more_than_its_share(
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
        fn after_the_wait_that_was_told_there_is_a_token(rate in 0.01f64..50.0) {
            let now = Instant::now();
            let mut bucket = Bucket::full(rate, now);
            prop_assert_eq!(bucket.take(now), None);
            let wait = bucket.take(now).expect("it is empty");
            prop_assert_eq!(bucket.take(now + wait + Duration::from_micros(1)), None);
        }
    }

    #[test]
    fn no_second_sees_more_than_a_quarter_over_the_rate() {
        for per_minute in [240, 300, 1200, 6000] {
            let rate = per_second(per_minute);
            assert!(f64::from(burst(rate)) + rate <= rate * 1.25, "{per_minute} a minute");
        }
        assert_eq!(burst(per_second(1)), 1, "a slow bucket holds one token all the same");
    }

    #[test]
    fn the_default_stays_below_what_apify_takes_for_one_actor() {
        let rate = per_second(SourceLimits::default().runs_per_minute);
        assert!(rate + f64::from(burst(rate)) < 30.0);
    }
}
