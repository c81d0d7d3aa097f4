use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in microseconds.
const LONGEST: u64 = 120_000_000;

/// What came back, and when.
pub struct Tally {
    /// In microseconds.
    latency: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    /// Requests that got no answer at all.
    pub unanswered: u64,
    pub elapsed: Duration,
}

impl Tally {
    pub fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order");
        Self { latency, statuses: BTreeMap::new(), unanswered: 0, elapsed: Duration::ZERO }
    }

    /// Counts one answer.
    pub fn answered(&mut self, status: u16, latency: Duration) {
        self.record(latency);
        *self.statuses.entry(status).or_default() += 1;
    }

    /// Counts a request that nobody answered within `waited`.
    pub fn lost(&mut self, waited: Duration) {
        self.record(waited);
        self.unanswered += 1;
    }

    fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
        self.latency.saturating_record(micros.max(1));
    }

    /// Answers with this status.
    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Answers of the 200s a second.
    pub fn per_second(&self) -> f64 {
        let good: u64 = self.statuses.range(200..300).map(|(_, count)| count).sum();
        good as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile of the latency, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// What was not as it should be, for people; `None` when every answer was of the 200s.
    pub fn trouble(&self) -> Option<String> {
        let bad: Vec<String> = self
            .statuses
            .iter()
            .filter(|(status, _)| !(200..300).contains(*status))
            .map(|(status, count)| format!("{count} x {status}"))
            .chain((self.unanswered > 0).then(|| format!("{} without an answer", self.unanswered)))
            .collect();
        (!bad.is_empty()).then(|| bad.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_no_throughput_and_are_told() {
        let mut tally = Tally::new();
        tally.elapsed = Duration::from_secs(2);
        for _ in 0..10 {
            tally.answered(202, Duration::from_millis(1));
        }
        assert_eq!((tally.per_second(), tally.trouble()), (5.0, None));
        tally.answered(429, Duration::from_millis(1));
        tally.lost(Duration::from_secs(1));
        assert_eq!(tally.per_second(), 5.0);
        assert_eq!(tally.trouble().as_deref(), Some("1 x 429, 1 without an answer"));
        assert!(tally.quantile_ms(0.999) > 990.0, "what was lost counts as long as it was waited for");
    }
}
