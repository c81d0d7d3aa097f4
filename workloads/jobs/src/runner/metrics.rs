//! Metrics of a runner.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, exemplar::HistogramWithExemplars, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use switchyard_contract::{Kind, Lane};

use super::attempt::AttemptOutcome;
use crate::{
    handler::Step,
    store::Claim,
    trace::{self, TraceLabel},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    kind: &'static str,
    lane: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    kind: &'static str,
    lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: &'static str,
}

/// Buckets of attempt durations, in seconds.
const ATTEMPTS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];
/// Buckets of waiting times and of whole analyses, in seconds. A job waits some hundredths of a
/// second for an idle worker.
const WAITS: [f64; 14] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0];

/// Counters of one worker process.
#[derive(Clone)]
pub struct Metrics {
    attempts: Family<AttemptLabels, Counter>,
    seconds: Family<QueueLabels, HistogramWithExemplars<TraceLabel>>,
    running: Family<QueueLabels, Gauge>,
    slots: Gauge,
    waits: Family<QueueLabels, Histogram>,
    analyses: Family<LaneLabels, HistogramWithExemplars<TraceLabel>>,
    stale: Counter,
}

fn queue(kind: Kind, lane: Lane) -> QueueLabels {
    QueueLabels { kind: kind.as_str(), lane: lane.as_str() }
}

impl Metrics {
    /// Registers the counters.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            attempts: Family::default(),
            seconds: Family::new_with_constructor(|| HistogramWithExemplars::new(ATTEMPTS.into_iter())),
            running: Family::default(),
            slots: Gauge::default(),
            waits: Family::new_with_constructor(|| Histogram::new(WAITS)),
            analyses: Family::new_with_constructor(|| HistogramWithExemplars::new(WAITS.into_iter())),
            stale: Counter::default(),
        };
        let help = "Time from the creation of a job to its first attempt";
        registry.register_with_unit("switchyard_job_wait", help, Unit::Seconds, metrics.waits.clone());
        let help = "Time from the acceptance of an analysis to its result";
        registry.register_with_unit("switchyard_analysis", help, Unit::Seconds, metrics.analyses.clone());
        let registry = registry.sub_registry_with_prefix("switchyard_worker");
        registry.register("attempts", "Attempts that ended, by outcome", metrics.attempts.clone());
        registry.register_with_unit("attempt", "Duration of attempts", Unit::Seconds, metrics.seconds.clone());
        registry.register("running", "Running jobs", metrics.running.clone());
        registry.register("slots", "Jobs that the process may run at the same time", metrics.slots.clone());
        registry.register("stale_messages", "Tickets that led to no claim", metrics.stale.clone());
        metrics
    }

    /// Creates a series of each metric, for each value of its labels.
    pub(crate) fn sample(&self) {
        for (kind, lane) in Kind::ALL.iter().flat_map(|kind| Lane::ALL.iter().map(|lane| (*kind, *lane))) {
            let queue = queue(kind, lane);
            drop(self.seconds.get_or_create(&queue));
            drop(self.running.get_or_create(&queue));
            drop(self.waits.get_or_create(&queue));
            drop(self.analyses.get_or_create(&LaneLabels { lane: queue.lane }));
            for outcome in AttemptOutcome::ALL {
                let QueueLabels { kind, lane } = queue;
                drop(self.attempts.get_or_create(&AttemptLabels { kind, lane, outcome: outcome.as_str() }));
            }
        }
    }

    /// Sets the number of slots.
    pub(super) fn slots(&self, slots: u32) {
        self.slots.set(slots.into());
    }

    pub(super) fn began(&self, claim: &Claim) {
        let queue = queue(claim.job.kind, claim.job.lane);
        self.running.get_or_create(&queue).inc();
        if let Some(age) = claim.age
            && claim.job.attempt == 1
            && matches!(claim.job.step, Step::Start)
        {
            self.waits.get_or_create(&queue).observe(age.as_secs_f64());
        }
    }

    pub(super) fn ended(&self, claim: &Claim, outcome: AttemptOutcome, took: Duration) {
        let queue = queue(claim.job.kind, claim.job.lane);
        self.running.get_or_create(&queue).dec();
        self.seconds.get_or_create(&queue).observe(took.as_secs_f64(), trace::exemplar(), None);
        if let Some(age) = claim.age
            && outcome == AttemptOutcome::Completed
            && claim.job.is_analysis()
        {
            let lane = LaneLabels { lane: queue.lane };
            self.analyses.get_or_create(&lane).observe((age + took).as_secs_f64(), trace::exemplar(), None);
        }
        let QueueLabels { kind, lane } = queue;
        self.attempts.get_or_create(&AttemptLabels { kind, lane, outcome: outcome.as_str() }).inc();
    }

    pub(super) fn stale(&self, tickets: usize) {
        self.stale.inc_by(tickets as u64);
    }
}
