//! Backoff of retries, and of requeues while nothing changes.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;

/// Counts consecutive occurrences per object, by namespace and name.
///
/// A reset removes the entry, so it holds only objects with a count.
#[derive(Debug, Default)]
pub struct ConsecutiveCounter(Mutex<HashMap<(String, String), u32>>);

impl ConsecutiveCounter {
    /// Increments the count and returns the previous one.
    pub fn increment(&self, namespace: &str, name: &str) -> u32 {
        let mut all = self.0.lock();
        let count = all.entry((namespace.to_owned(), name.to_owned())).or_default();
        *count = count.saturating_add(1);
        *count - 1
    }

    /// Sets the count to zero.
    pub fn reset(&self, namespace: &str, name: &str) {
        self.0.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }
}

/// Delay before an object in progress is reconciled again: `first`, doubled for each unchanged
/// reconciliation, up to a minute.
///
/// Changes of owned objects trigger a reconciliation at once. Pods are not watched, so their errors
/// are found by polling.
pub fn progress_backoff(first: Duration, unchanged_count: u32) -> Duration {
    (first * (1 << unchanged_count.min(6))).min(Duration::from_mins(1))
}

/// Delay before a retry: 1 s, doubled for each consecutive failure, up to 2 minutes.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(7)).min(Duration::from_mins(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_starts_the_count_again() {
        let failures = ConsecutiveCounter::default();
        assert_eq!(
            [failures.increment("n", "a"), failures.increment("n", "a"), failures.increment("m", "a")],
            [0, 1, 0]
        );
        failures.reset("n", "a");
        assert_eq!(failures.increment("n", "a"), 0);
    }

    #[test]
    fn delays_double_up_to_their_limit() {
        let seconds: Vec<u64> = (0..9).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        let seconds: Vec<u64> = (0..6).map(|n| progress_backoff(Duration::from_secs(5), n).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
    }
}
