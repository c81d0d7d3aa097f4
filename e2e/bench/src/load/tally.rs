//! Counts responses and their latencies.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// Upper bound of the latency histogram, in microseconds.
const LONGEST: u64 = 120_000_000;

/// Responses by status, and a histogram of their latencies.
pub struct Tally {
    /// In microseconds.
    latency: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    /// Requests without a response.
    pub unanswered: u64,
    pub elapsed: Duration,
}

impl Tally {
    /// An empty tally.
    pub fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order");
        Self { latency, statuses: BTreeMap::new(), unanswered: 0, elapsed: Duration::ZERO }
    }

    /// Counts a response.
    pub fn record_response(&mut self, status: u16, latency: Duration) {
        self.record(latency);
        *self.statuses.entry(status).or_default() += 1;
    }

    /// Counts a request that got no response within `waited`.
    pub fn record_lost(&mut self, waited: Duration) {
        self.record(waited);
        self.unanswered += 1;
    }

    fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
        self.latency.saturating_record(micros.max(1));
    }

    /// Responses with this status.
    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Successful (2xx) responses per second.
    pub fn per_second(&self) -> f64 {
        let good: u64 = self.statuses.range(200..300).map(|(_, count)| count).sum();
        good as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile of the latency, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The failed requests by status, as text; `None` when every response was 2xx.
    pub fn errors(&self) -> Option<String> {
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
    #[expect(clippy::float_cmp, reason = "exact results")]
    fn failed_requests_are_reported_and_excluded_from_throughput() {
        let mut tally = Tally::new();
        tally.elapsed = Duration::from_secs(2);
        for _ in 0..10 {
            tally.record_response(202, Duration::from_millis(1));
        }
        assert_eq!((tally.per_second(), tally.errors()), (5.0, None));
        tally.record_response(429, Duration::from_millis(1));
        tally.record_lost(Duration::from_secs(1));
        assert_eq!(tally.per_second(), 5.0);
        assert_eq!(tally.errors().as_deref(), Some("1 x 429, 1 without an answer"));
        assert!(tally.quantile_ms(0.999) > 990.0, "a lost request counts with the time that was waited for it");
    }
}
