//! How fast one tenant may call: a token bucket in the cache, shared by every API process.
//!
//! It protects the platform from a client gone wild; what a tenant may use is the tier's affair. Without the cache nobody is held back.

use switchyard_jobs::cache::Cache;

use crate::problem::{Problem, ProblemType};

/// A refill rate and a size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Calls a second in the long run.
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

/// The limiter.
#[derive(Clone)]
pub struct RateLimiter {
    cache: Cache,
    rate: Rate,
}

impl RateLimiter {
    /// A limiter that counts in `cache`.
    pub fn new(cache: Cache, rate: Rate) -> Self {
        Self { cache, rate }
    }

    /// Takes one call from `who`'s bucket, or says when to come back.
    pub async fn take(&self, who: &str) -> Result<(), Problem> {
        let Rate { per_second, burst } = self.rate;
        self.cache.take(who, per_second, burst).await.map_err(|wait| {
            let detail = format!("Calls come faster than {per_second} a second in the long run; slow down.");
            Problem::new(ProblemType::RateLimited, detail).retry_after(wait)
        })
    }
}
