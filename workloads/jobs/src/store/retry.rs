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

    use super::*;

    #[tokio::test]
    async fn unavailable_database_is_called_three_times() {
        let calls = AtomicU32::new(0);
        let result = retry(|| async {
            calls.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(StoreError::Unavailable("unreachable".to_owned()))
        })
        .await;
        assert!(result.is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 3);
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
