//! Retries of database calls that may be repeated.

use std::time::Duration;

use backon::Retryable as _;
use tokio::time::Instant;

use super::error::StoreError;
use crate::resilience::{backoff::full_jitter, deadline};

/// Attempts of one call.
const ATTEMPTS: u32 = 3;
/// No attempt starts later than this after the first.
const RETRY_WINDOW: Duration = Duration::from_secs(10);

/// Calls the store up to three times, with full jitter, while its error is transient.
///
/// Retries start within 10 s and within the task's [`deadline`]. Use it for calls that may be
/// repeated: reads, and idempotent writes.
///
/// # Errors
/// The error of the last attempt.
pub async fn retry<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let started = Instant::now();
    let in_time =
        |wait: &Duration| started.elapsed() < RETRY_WINDOW && deadline::remaining().is_none_or(|left| left > *wait);
    call.retry((0..ATTEMPTS - 1).map(full_jitter))
        .when(StoreError::is_transient)
        .adjust(|_, wait| wait.filter(in_time))
        .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use parking_lot::Mutex;
    use tokio::time::sleep;

    use super::*;

    fn unavailable() -> StoreError {
        StoreError::Unavailable("unreachable".to_owned())
    }

    /// The waits between the calls of a database that refuses each of them.
    async fn waits() -> Vec<Duration> {
        let calls = Mutex::new(Vec::new());
        let result = retry(|| async {
            calls.lock().push(Instant::now());
            Err::<(), _>(unavailable())
        })
        .await;
        assert!(result.is_err());
        calls.into_inner().windows(2).map(|calls| calls[1] - calls[0]).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn unavailable_database_is_called_three_times_with_longer_random_waits() {
        let mut seen = [Vec::new(), Vec::new()];
        for _ in 0..200 {
            let waits = waits().await;
            assert_eq!(waits.len(), 2, "three calls");
            for (seen, wait) in seen.iter_mut().zip(waits) {
                seen.push(wait.as_millis());
            }
        }
        for (mut waits, bound) in seen.into_iter().zip([100, 200]) {
            waits.sort_unstable();
            // The timer rounds up to the next millisecond.
            assert!(waits[199] <= bound + 1, "{waits:?}");
            assert!(waits[0] < bound / 5 && waits[199] > bound * 4 / 5, "spread over the whole range: {waits:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_retry_starts_ten_seconds_after_the_first_call() {
        for (duration, expected) in [(4, 3), (6, 2), (11, 1)] {
            let calls = AtomicU32::new(0);
            let result = retry(|| async {
                calls.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(duration)).await;
                Err::<(), _>(unavailable())
            })
            .await;
            assert!(result.is_err());
            assert_eq!(calls.load(Ordering::Relaxed), expected, "calls of {duration} s");
        }
    }

    #[tokio::test]
    async fn no_retry_starts_past_the_deadline() {
        let calls = AtomicU32::new(0);
        let result = deadline::scope(
            Instant::now(),
            retry(|| async {
                calls.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(StoreError::Unavailable("unreachable".to_owned()))
            }),
        )
        .await;
        assert!(result.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn refused_statement_is_not_retried() {
        let calls = AtomicU32::new(0);
        let refused = || StoreError::Refused { code: "42501".to_owned(), message: "no".to_owned() };
        let result = retry(|| async {
            calls.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(refused())
        })
        .await;
        assert!(matches!(result, Err(StoreError::Refused { .. })));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
