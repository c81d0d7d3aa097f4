//! What a runner counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use switchyard_contract::{Kind, Lane};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    kind: &'static str,
    lane: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    kind: &'static str,
    lane: &'static str,
}

/// Counters of one worker process.
#[derive(Clone)]
pub struct Metrics {
    attempts: Family<Attempt, Counter>,
    seconds: Family<Place, Histogram>,
    running: Family<Place, Gauge>,
    stale: Counter,
}

impl Metrics {
    /// Registers the counters as `switchyard_worker_…`.
    pub fn register(registry: &mut Registry) -> Self {
        // From a tenth of a second to a quarter of an hour.
        let buckets = || Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0]);
        let metrics = Self {
            attempts: Family::default(),
            seconds: Family::new_with_constructor(buckets as fn() -> Histogram),
            running: Family::default(),
            stale: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("switchyard_worker");
        registry.register("attempts", "Attempts that ended, by outcome", metrics.attempts.clone());
        registry.register("attempt_seconds", "How long attempts ran", metrics.seconds.clone());
        registry.register("running", "Jobs that run now", metrics.running.clone());
        registry.register("stale_messages", "Tickets that led to no claim", metrics.stale.clone());
        metrics
    }

    pub(super) fn began(&self, kind: Kind, lane: Lane) {
        self.running.get_or_create(&Place { kind: kind.as_str(), lane: lane.as_str() }).inc();
    }

    pub(super) fn ended(&self, kind: Kind, lane: Lane, outcome: &'static str, seconds: f64) {
        let (kind, lane) = (kind.as_str(), lane.as_str());
        self.running.get_or_create(&Place { kind, lane }).dec();
        self.seconds.get_or_create(&Place { kind, lane }).observe(seconds);
        self.attempts.get_or_create(&Attempt { kind, lane, outcome }).inc();
    }

    pub(super) fn stale(&self, tickets: usize) {
        self.stale.inc_by(tickets as u64);
    }
}
