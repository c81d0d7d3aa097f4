//! Waits between attempts.

use std::time::Duration;

use rand::Rng as _;

/// Upper bound of the first wait; it doubles with each attempt.
const FIRST: Duration = Duration::from_millis(100);
/// Upper bound of any wait.
const LONGEST: Duration = Duration::from_secs(3);

/// The wait after failed attempt number `attempt` (from 0): uniformly random between zero and
/// 100 ms x 2^`attempt`, at most 3 s.
///
/// Full jitter keeps callers that failed together from retrying together. Source:
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
pub fn full_jitter(attempt: u32) -> Duration {
    let bound = FIRST.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(LONGEST);
    rand::rng().random_range(Duration::ZERO..=bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_jitter_uses_the_whole_range_up_to_its_bound() {
        for attempt in 0..64 {
            let bound = Duration::from_millis(100 << attempt.min(10)).min(Duration::from_secs(3));
            let waits: Vec<Duration> = (0..300).map(|_| full_jitter(attempt)).collect();
            let (shortest, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(*longest <= bound, "attempt {attempt}: {longest:?}");
            assert!(
                *longest > bound * 4 / 5 && *shortest < bound / 5,
                "attempt {attempt}: {shortest:?} to {longest:?}"
            );
        }
    }
}
