//! The rate limit of one tenant: a token bucket in the shared cache, for all API processes
//! together.
//!
//! A process leases several tokens at a time, so that a busy tenant costs one call to Redis for
//! many requests. Tokens are taken before they are used: in any time `t`, a tenant passes at most
//! `burst + per_second * (t + LEASE)` requests over all processes. Tokens that a process does not
//! use within `LEASE` are lost.
//!
//! The limit protects the platform from runaway clients; tiers limit what a tenant may use. Without
//! the cache there is no limit.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use switchyard_jobs::{
    cache::{Cache, Taken},
    model::TenantId,
};
use tokio::time::Instant;

use crate::http::problem::{Problem, ProblemType};

/// For how long leased tokens may be used.
const LEASE: Duration = Duration::from_secs(1);
/// The largest lease, as a time at the full rate.
const MAX_LEASE: Duration = Duration::from_millis(100);
/// For how long a cache that did not answer is not asked again.
const CACHE_RETRY: Duration = Duration::from_millis(500);
/// Counters from which idle ones are dropped.
const MAX_COUNTERS: usize = 10_000;

/// A token bucket: its refill rate and its size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Calls a second on average; above 0.
    pub per_second: f64,
    /// Calls at once.
    pub burst: u32,
}

impl Default for Rate {
    /// Far more than a client within the limits of its tier needs.
    fn default() -> Self {
        Self { per_second: 200.0, burst: 2000 }
    }
}

/// The caller that a rate limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateKey {
    Tenant(TenantId),
    /// A key without a known tenant: a part of its hash, so that the shared cache holds no usable
    /// key.
    Key([u8; 8]),
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::Key(part) => write!(f, "key:{}", hex::encode(part)),
        }
    }
}

/// The tokens that this process leases.
#[derive(Debug, Clone, Copy)]
enum Lease {
    /// `left` of `of` tokens, until then.
    Tokens { left: u32, of: u32, until: Instant },
    /// No token until then.
    Refused { until: Instant },
    /// No limit until then: the cache is unavailable.
    Unlimited { until: Instant },
}

#[derive(Debug)]
struct Counter {
    lease: tokio::sync::Mutex<Lease>,
    /// Callers that wait for the lease.
    waiting: AtomicU32,
}

/// Counts a caller that waits for the lease, until it is dropped.
struct WaitGuard<'a>(&'a AtomicU32);

impl<'a> WaitGuard<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    /// Ends the wait; answers how many waited, this caller among them.
    fn end(self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Limits the rates of all callers.
pub struct RateLimiter {
    cache: Cache,
    rate: Rate,
    counters: Mutex<HashMap<RateKey, Arc<Counter>>>,
}

impl RateLimiter {
    /// Makes a limiter that counts in `cache`.
    pub fn new(cache: Cache, rate: Rate) -> Self {
        Self { cache, rate, counters: Mutex::default() }
    }

    /// Takes one token of `who`.
    ///
    /// # Errors
    /// `rate-limited`, with the time until the next token.
    pub async fn take(&self, who: RateKey) -> Result<(), Problem> {
        let counter = self.counter(who);
        let wait = WaitGuard::new(&counter.waiting);
        // One caller at a time calls the cache; the others use its lease.
        let mut lease = counter.lease.lock().await;
        let waiting = wait.end();
        if let Some(answer) = lease.draw(Instant::now()) {
            return answer.map_err(|wait| self.refusal(wait));
        }
        *lease = self.renew(who, lease.next_size(waiting, self.max_lease())).await;
        lease.draw(Instant::now()).unwrap_or(Ok(())).map_err(|wait| self.refusal(wait))
    }

    async fn renew(&self, who: RateKey, size: u32) -> Lease {
        let Rate { per_second, burst } = self.rate;
        let taken = self.cache.take(&who.to_string(), size, per_second, burst).await;
        let now = Instant::now();
        match taken {
            Ok(Taken::Granted(n)) => Lease::Tokens { left: n, of: n, until: now + LEASE },
            Ok(Taken::Wait(wait)) => Lease::Refused { until: now + wait },
            Err(_) => Lease::Unlimited { until: now + CACHE_RETRY },
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a tenth of the burst")]
    fn max_lease(&self) -> u32 {
        let most = (self.rate.per_second * MAX_LEASE.as_secs_f64()).min(f64::from(self.rate.burst) / 10.0);
        most.max(1.0) as u32
    }

    fn counter(&self, who: RateKey) -> Arc<Counter> {
        let mut counters = self.counters.lock();
        if let Some(counter) = counters.get(&who) {
            return counter.clone();
        }
        if counters.len() >= MAX_COUNTERS {
            // A lease is worth little, and a caller that uses one holds a reference.
            counters.retain(|_, counter| Arc::strong_count(counter) > 1);
        }
        let lease = Lease::Tokens { left: 0, of: 0, until: Instant::now() };
        let counter = Arc::new(Counter { lease: tokio::sync::Mutex::new(lease), waiting: AtomicU32::new(0) });
        counters.insert(who, counter.clone());
        counter
    }

    fn refusal(&self, wait: Duration) -> Problem {
        let detail = format!("The rate limit is {} calls a second on average.", self.rate.per_second);
        Problem::new(ProblemType::RateLimited, detail).retry_after(wait)
    }
}

impl Lease {
    /// Takes one token, or answers how long to wait; `None` if a new lease is needed.
    fn draw(&mut self, now: Instant) -> Option<Result<(), Duration>> {
        match self {
            Self::Tokens { left, until, .. } if *left > 0 && now < *until => {
                *left -= 1;
                Some(Ok(()))
            }
            Self::Refused { until } if now < *until => Some(Err(*until - now)),
            Self::Unlimited { until } if now < *until => Some(Ok(())),
            _ => None,
        }
    }

    /// The size of the next lease: enough for the waiting callers, twice the last one if that was
    /// used up in time, and at most `largest`.
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

    fn some_tenant() -> RateKey {
        RateKey::Tenant(TenantId(Uuid::new_v4()))
    }

    /// Calls through several limiters for `time`; answers how many calls passed.
    async fn passed(limiters: &[RateLimiter], who: RateKey, time: Duration) -> u32 {
        let end = Instant::now() + time;
        let callers = limiters.iter().map(async |limiter| {
            let mut passed = 0;
            while Instant::now() < end {
                match limiter.take(who).await {
                    Ok(()) => passed += 1,
                    Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
            passed
        });
        futures::future::join_all(callers).await.into_iter().sum()
    }

    #[tokio::test]
    async fn processes_together_allow_the_burst_and_the_rate() {
        let uri = redis().await.database();
        let limiters = [(); 3].map(|()| limiter(&uri, 200.0, 60));
        let began = Instant::now();
        let passed = passed(&limiters, some_tenant(), Duration::from_millis(1500)).await;
        let elapsed = began.elapsed();
        let most = 60.0 + 200.0 * elapsed.as_secs_f64();
        assert!(f64::from(passed) <= most, "{passed} passed, and {most} is the most");
        assert!(passed > 60 + 100, "{passed} passed: the rate is not used");
    }

    #[tokio::test]
    async fn busy_tenant_costs_one_cache_call_for_many_requests() {
        let uri = redis().await.database();
        let limiter = limiter(&uri, 1000.0, 1000);
        let who = some_tenant();
        for _ in 0..500 {
            limiter.take(who).await.unwrap();
        }
        let left = limiter.cache.take(&who.to_string(), 1000, 1000.0, 1000).await.unwrap();
        assert!(matches!(left, Taken::Granted(n) if n >= 300), "{left:?}");
        // 1, 2, 4 … 64, then 100 each; again from 1 after an idle second.
        let Lease::Tokens { of, .. } = *limiter.counter(who).lease.lock().await else { panic!("no tokens") };
        assert!(of > 1, "{of}");
    }

    #[tokio::test]
    async fn quiet_tenant_leases_one_token_at_a_time() {
        let limiter = limiter(&redis().await.database(), 0.001, 3);
        let who = some_tenant();
        for _ in 0..3 {
            limiter.take(who).await.unwrap();
        }
        assert_eq!(limiter.take(who).await.unwrap_err().kind, ProblemType::RateLimited);
        limiter.take(some_tenant()).await.unwrap();
    }

    #[tokio::test]
    async fn concurrent_callers_share_a_lease() {
        let limiter = limiter(&redis().await.database(), 0.001, 1000);
        let who = some_tenant();
        let all = futures::future::join_all((0..200).map(|_| limiter.take(who))).await;
        assert!(all.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn without_the_cache_there_is_no_limit() {
        let limiter = limiter("redis://127.0.0.1:1/0", 0.001, 1);
        let who = some_tenant();
        for _ in 0..10 {
            limiter.take(who).await.unwrap();
        }
    }

    #[test]
    fn lease_expires_and_grows_only_when_it_was_used_up() {
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
