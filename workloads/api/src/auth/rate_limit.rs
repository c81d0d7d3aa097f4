//! How fast one tenant may call: a token bucket in the cache, shared by every API process.
//!
//! A process takes tokens out of the shared bucket several at a time and hands them out by itself: a busy tenant costs a call to Redis for many of its
//! requests. Tokens are taken before they are used, so a tenant passes at most `burst + per_second * (t + LEASE)` requests in any time `t`, over all
//! processes together; what a process has taken and not handed out within `LEASE` is lost to the tenant.
//!
//! It protects the platform from a client gone wild; what a tenant may use is the tier's affair. Without the cache nobody is held back.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use switchyard_jobs::{
    cache::{Cache, Taken},
    model::TenantId,
};
use tokio::time::Instant;

use crate::http::problem::{Problem, ProblemType};

/// For how long tokens that were taken may be handed out.
const LEASE: Duration = Duration::from_secs(1);
/// The largest lease, as a time at the full rate.
const LARGEST: Duration = Duration::from_millis(100);
/// How long nobody asks a cache that did not answer.
const AWAY: Duration = Duration::from_millis(500);
/// Callers that are kept in mind at least, before those who have gone are forgotten.
const MANY: usize = 10_000;

/// A refill rate and a size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Calls a second in the long run; above 0.
    pub per_second: f64,
    /// Calls that may come at once.
    pub burst: u32,
}

impl Default for Rate {
    /// Far above what a tier's limits let a well-behaved client need.
    fn default() -> Self {
        Self { per_second: 200.0, burst: 2000 }
    }
}

/// Whose calls are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    Tenant(TenantId),
    /// A key that was not looked up yet: part of its hash, so that the store of counters holds nothing that opens anything.
    Key([u8; 8]),
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::Key(part) => write!(f, "key:{}", hex::encode(part)),
        }
    }
}

/// What this process may hand out of a bucket.
#[derive(Debug, Clone, Copy)]
enum Lease {
    /// So many calls until then. `of` is how many there were in the beginning.
    Tokens { left: u32, of: u32, until: Instant },
    /// None until then.
    Refused { until: Instant },
    /// As many as come until then: the cache is away.
    Free { until: Instant },
}

#[derive(Debug)]
struct Counter {
    lease: tokio::sync::Mutex<Lease>,
    /// Callers that are about to look at the lease.
    waiting: AtomicU32,
}

/// A caller that waits for the lease; also one that gives up is not counted any more.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    /// How many waited until now, this one among them.
    fn end(self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The limiter.
pub struct RateLimiter {
    cache: Cache,
    rate: Rate,
    counters: Mutex<HashMap<Bucket, Arc<Counter>>>,
}

impl RateLimiter {
    /// A limiter that counts in `cache`.
    pub fn new(cache: Cache, rate: Rate) -> Self {
        Self { cache, rate, counters: Mutex::default() }
    }

    /// Takes one call from `who`'s bucket, or says when to come back.
    pub async fn take(&self, who: Bucket) -> Result<(), Problem> {
        let counter = self.counter(who);
        let place = Waiting::begin(&counter.waiting);
        // One caller at a time asks the cache; the others find what it brought.
        let mut lease = counter.lease.lock().await;
        let waiting = place.end();
        if let Some(answer) = lease.draw(Instant::now()) {
            return answer.map_err(|wait| self.refusal(wait));
        }
        *lease = self.renewed(who, lease.next_size(waiting, self.largest())).await;
        lease.draw(Instant::now()).unwrap_or(Ok(())).map_err(|wait| self.refusal(wait))
    }

    async fn renewed(&self, who: Bucket, size: u32) -> Lease {
        let Rate { per_second, burst } = self.rate;
        let taken = self.cache.take(&who.to_string(), size, per_second, burst).await;
        let now = Instant::now();
        match taken {
            Ok(Taken::Granted(n)) => Lease::Tokens { left: n, of: n, until: now + LEASE },
            Ok(Taken::Wait(wait)) => Lease::Refused { until: now + wait },
            Err(_) => Lease::Free { until: now + AWAY },
        }
    }

    fn largest(&self) -> u32 {
        let most = (self.rate.per_second * LARGEST.as_secs_f64()).min(f64::from(self.rate.burst) / 10.0);
        most.max(1.0) as u32
    }

    fn counter(&self, who: Bucket) -> Arc<Counter> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(&who) {
            return counter.clone();
        }
        if counters.len() >= MANY {
            // A lease is worth little, and whoever uses one right now holds on to it.
            counters.retain(|_, counter| Arc::strong_count(counter) > 1);
        }
        let lease = Lease::Tokens { left: 0, of: 0, until: Instant::now() };
        let counter = Arc::new(Counter { lease: tokio::sync::Mutex::new(lease), waiting: AtomicU32::new(0) });
        counters.insert(who, counter.clone());
        counter
    }

    fn refusal(&self, wait: Duration) -> Problem {
        let detail = format!("Calls come faster than {} a second in the long run; slow down.", self.rate.per_second);
        Problem::new(ProblemType::RateLimited, detail).retry_after(wait)
    }
}

impl Lease {
    /// Lets one call through, or says how long to wait; `None` when the cache has to be asked.
    fn draw(&mut self, now: Instant) -> Option<Result<(), Duration>> {
        match self {
            Self::Tokens { left, until, .. } if *left > 0 && now < *until => {
                *left -= 1;
                Some(Ok(()))
            }
            Self::Refused { until } if now < *until => Some(Err(*until - now)),
            Self::Free { until } if now < *until => Some(Ok(())),
            _ => None,
        }
    }

    /// How many tokens to ask for: enough for those who wait, twice as many as last time when those were used up in time, never more than `largest`.
    fn next_size(&self, waiting: u32, largest: u32) -> u32 {
        let size = match *self {
            Self::Tokens { left: 0, of, until } if Instant::now() < until => of.saturating_mul(2),
            _ => 1,
        };
        size.max(waiting).clamp(1, largest)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use switchyard_jobs::testing::redis;
    use uuid::Uuid;

    use super::*;

    fn limiter(uri: &str, per_second: f64, burst: u32) -> RateLimiter {
        let cache = Cache::connect(&SecretString::from(uri.to_owned()), Duration::ZERO).unwrap();
        RateLimiter::new(cache, Rate { per_second, burst })
    }

    fn somebody() -> Bucket {
        Bucket::Tenant(TenantId(Uuid::new_v4()))
    }

    /// Asks again and again in several processes' stead for `time`, and answers how many calls passed.
    async fn passed(limiters: &[RateLimiter], who: Bucket, time: Duration) -> u32 {
        let end = Instant::now() + time;
        let askers = limiters.iter().map(async |limiter| {
            let mut passed = 0;
            while Instant::now() < end {
                match limiter.take(who).await {
                    Ok(()) => passed += 1,
                    Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
            passed
        });
        futures::future::join_all(askers).await.into_iter().sum()
    }

    #[tokio::test]
    async fn three_processes_let_through_the_burst_and_the_rate_and_no_more() {
        let uri = redis().await.database();
        let limiters = [(); 3].map(|()| limiter(&uri, 200.0, 60));
        let began = Instant::now();
        let passed = passed(&limiters, somebody(), Duration::from_millis(1500)).await;
        let elapsed = began.elapsed();
        let most = 60.0 + 200.0 * elapsed.as_secs_f64();
        assert!(f64::from(passed) <= most, "{passed} passed, and {most} is the most");
        assert!(passed > 60 + 100, "{passed} passed: the rate is not used");
    }

    #[tokio::test]
    async fn a_busy_tenant_costs_one_call_to_the_cache_for_many_requests() {
        let uri = redis().await.database();
        let limiter = limiter(&uri, 1000.0, 1000);
        let who = somebody();
        for _ in 0..500 {
            limiter.take(who).await.unwrap();
        }
        let left = limiter.cache.take(&who.to_string(), 1000, 1000.0, 1000).await.unwrap();
        assert!(matches!(left, Taken::Granted(n) if n >= 300), "{left:?}");
        // 1, 2, 4 … 64, then 100 each; from the beginning again after a second of silence.
        let Lease::Tokens { of, .. } = *limiter.counter(who).lease.lock().await else { panic!("no tokens") };
        assert!(of > 1, "{of}");
    }

    #[tokio::test]
    async fn a_quiet_tenant_takes_one_token_at_a_time() {
        let limiter = limiter(&redis().await.database(), 0.001, 3);
        let who = somebody();
        for _ in 0..3 {
            limiter.take(who).await.unwrap();
        }
        assert_eq!(limiter.take(who).await.unwrap_err().kind, ProblemType::RateLimited);
        limiter.take(somebody()).await.unwrap();
    }

    #[tokio::test]
    async fn callers_that_come_at_once_share_what_one_of_them_takes() {
        let limiter = limiter(&redis().await.database(), 0.001, 1000);
        let who = somebody();
        let all = futures::future::join_all((0..200).map(|_| limiter.take(who))).await;
        assert!(all.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn without_the_cache_everyone_passes() {
        let limiter = limiter("redis://127.0.0.1:1/0", 0.001, 1);
        let who = somebody();
        for _ in 0..10 {
            limiter.take(who).await.unwrap();
        }
    }

    #[test]
    fn a_lease_ends_with_its_time_and_grows_only_when_it_was_used_up() {
        let now = Instant::now();
        let mut used_up = Lease::Tokens { left: 1, of: 8, until: now + LEASE };
        assert_eq!(used_up.draw(now), Some(Ok(())));
        assert_eq!(used_up.draw(now), None);
        assert_eq!(used_up.next_size(1, 100), 16);
        assert_eq!(used_up.next_size(40, 30), 30);
        let mut late = Lease::Tokens { left: 5, of: 8, until: now };
        assert_eq!(late.draw(now), None);
        assert_eq!(late.next_size(1, 100), 1);
        assert_eq!(Lease::Refused { until: now + LEASE }.draw(now), Some(Err(LEASE)));
    }
}
