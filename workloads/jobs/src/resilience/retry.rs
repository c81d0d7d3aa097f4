//! Trying again, where that is safe.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{Instant, sleep};

use super::deadline;
use crate::store::StoreError;

/// First and longest wait between attempts.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3);
/// Attempts of a call, and the time within which another one may begin.
const ATTEMPTS: u32 = 3;
const WITHIN: Duration = Duration::from_secs(10);

/// A random wait before attempt `attempt + 2`, up to an end that doubles each time: callers that failed together do not come back together.
pub fn full_jitter(attempt: u32) -> Duration {
    let end = FIRST.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(LONGEST);
    rand::rng().random_range(Duration::ZERO..=end)
}

/// Calls the store up to three times within 10 s and the task's [`deadline`], as long as it is only away. For calls that may be repeated: reads, and
/// writes that are the same twice.
pub async fn repeat<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let began = Instant::now();
    let mut attempt = 0;
    loop {
        match call().await {
            Err(error) if error.is_passing() && attempt + 1 < ATTEMPTS && began.elapsed() < WITHIN => {
                let wait = full_jitter(attempt);
                if deadline::remaining().is_some_and(|left| left <= wait) {
                    return Err(error);
                }
                sleep(wait).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_database_that_stays_away_is_asked_three_times() {
        let calls = AtomicU32::new(0);
        let result = repeat(|| async {
            calls.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(StoreError::Unavailable("away".to_owned()))
        })
        .await;
        assert!(result.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn past_the_deadline_nothing_is_repeated() {
        let calls = AtomicU32::new(0);
        let result = deadline::scope(
            Instant::now(),
            repeat(|| async {
                calls.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(StoreError::Unavailable("away".to_owned()))
            }),
        )
        .await;
        assert!(result.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_refusal_is_not_repeated() {
        let calls = AtomicU32::new(0);
        let refused = || StoreError::Refused { code: "42501".to_owned(), message: "no".to_owned() };
        let result = repeat(|| async {
            calls.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(refused())
        })
        .await;
        assert!(matches!(result, Err(StoreError::Refused { .. })));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn waits_stay_within_their_end() {
        for attempt in 0..64 {
            assert!(full_jitter(attempt) <= LONGEST);
        }
    }
}
