//! The limiter of unknown keys, which protects the database from a flood of invalid keys. It counts
//! in this process alone.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Limits the queries of unknown keys with a token bucket. A query takes a token; a valid key
/// returns it.
pub struct UnknownKeyLimiter {
    per_second: f64,
    bucket: Mutex<(f64, Instant)>,
}

impl UnknownKeyLimiter {
    /// Allows `per_second` invalid keys a second on average, and ten times as many at once.
    pub fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, bucket: Mutex::new((per_second * 10.0, Instant::now())) }
    }

    fn burst(&self) -> f64 {
        self.per_second * 10.0
    }

    /// Takes the token of one query.
    ///
    /// # Errors
    /// The time until the next token, if there is none.
    pub fn acquire(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock();
        let (tokens, at) = &mut *bucket;
        let now = Instant::now();
        *tokens = (*tokens + (now - *at).as_secs_f64() * self.per_second).min(self.burst());
        *at = now;
        if *tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - *tokens) / self.per_second));
        }
        *tokens -= 1.0;
        Ok(())
    }

    /// Returns the token: the key is valid, or the database did not answer.
    pub fn release(&self) {
        let mut bucket = self.bucket.lock();
        bucket.0 = (bucket.0 + 1.0).min(self.burst());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unknown_keys_use_up_the_queries() {
        let limiter = UnknownKeyLimiter::new(100);
        for _ in 0..5000 {
            limiter.acquire().unwrap();
            limiter.release();
        }
        let refused = (0..5000).find_map(|_| limiter.acquire().err()).expect("the limiter refuses nothing");
        assert!(refused <= Duration::from_millis(10), "{refused:?}");
    }
}
