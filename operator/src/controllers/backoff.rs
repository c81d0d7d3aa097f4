//! What happens again and again, object by object: failures, or looks at which nothing had changed.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Counts in a row by namespace and name. What ends is forgotten, so it holds objects alone that are in such a row.
#[derive(Debug, Default)]
pub struct ConsecutiveCounter(Mutex<HashMap<(String, String), u32>>);

impl ConsecutiveCounter {
    /// Counts one more, and answers how many there were in a row before.
    pub fn increment(&self, namespace: &str, name: &str) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let increment = all.entry((namespace.to_owned(), name.to_owned())).or_default();
        *increment = increment.saturating_add(1);
        *increment - 1
    }

    /// The row has ended.
    pub fn reset(&self, namespace: &str, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(namespace.to_owned(), name.to_owned()));
    }
}

/// When to look again at what is on its way: after `first`, and later and later while nothing changes, up to a minute. Whatever changes in an object of
/// the operator's is noticed at once; pods tell their troubles to nobody's watch.
pub fn progress_backoff(first: Duration, unchanged_count: u32) -> Duration {
    (first * (1 << unchanged_count.min(6))).min(Duration::from_secs(60))
}

/// 1 s, doubled with each failure in a row, up to 2 minutes.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(7)).min(Duration::from_secs(120))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_ends_the_row() {
        let failures = ConsecutiveCounter::default();
        assert_eq!(
            [failures.increment("n", "a"), failures.increment("n", "a"), failures.increment("m", "a")],
            [0, 1, 0]
        );
        failures.reset("n", "a");
        assert_eq!(failures.increment("n", "a"), 0);
    }

    #[test]
    fn failures_in_a_row_are_tried_again_later_and_later() {
        let seconds: Vec<u64> = (0..9).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        let seconds: Vec<u64> = (0..6).map(|n| progress_backoff(Duration::from_secs(5), n).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
    }
}
