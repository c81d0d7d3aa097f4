//! What a runner counts.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, exemplar::HistogramWithExemplars, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use switchyard_contract::{Kind, Lane};

use super::attempt::{Ending, is_analysis};
use crate::{
    handler::Step,
    store::Claim,
    trace::{self, TraceLabel},
};

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

/// From a tenth of a second to a quarter of an hour.
const ATTEMPTS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];
/// A job that finds a free worker waits some hundredths of a second; a lane gives an analysis ten minutes at most.
const WAITS: [f64; 14] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0];

/// Counters of one worker process.
#[derive(Clone)]
pub struct Metrics {
    attempts: Family<Attempt, Counter>,
    seconds: Family<Place, HistogramWithExemplars<TraceLabel>>,
    running: Family<Place, Gauge>,
    slots: Gauge,
    waits: Family<Place, Histogram>,
    analyses: Family<LaneLabel, HistogramWithExemplars<TraceLabel>>,
    stale: Counter,
}

fn place(kind: Kind, lane: Lane) -> Place {
    Place { kind: kind.as_str(), lane: lane.as_str() }
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
        let help = "Time from the moment at which a job was made to its first attempt";
        registry.register_with_unit("switchyard_job_wait", help, Unit::Seconds, metrics.waits.clone());
        let help = "Time from the moment at which an analysis was accepted to its result";
        registry.register_with_unit("switchyard_analysis", help, Unit::Seconds, metrics.analyses.clone());
        let registry = registry.sub_registry_with_prefix("switchyard_worker");
        registry.register("attempts", "Attempts that ended, by outcome", metrics.attempts.clone());
        registry.register_with_unit("attempt", "How long attempts ran", Unit::Seconds, metrics.seconds.clone());
        registry.register("running", "Jobs that run now", metrics.running.clone());
        registry.register("slots", "Jobs that the process may run at once", metrics.slots.clone());
        registry.register("stale_messages", "Tickets that led to no claim", metrics.stale.clone());
        metrics
    }

    /// How many jobs the process may run at once.
    pub(super) fn slots(&self, slots: u32) {
        self.slots.set(slots.into());
    }

    pub(super) fn began(&self, claim: &Claim) {
        let place = place(claim.job.kind, claim.job.lane);
        self.running.get_or_create(&place).inc();
        if let Some(age) = claim.age
            && claim.job.attempt == 1
            && matches!(claim.job.step, Step::Start)
        {
            self.waits.get_or_create(&place).observe(age.as_secs_f64());
        }
    }

    pub(super) fn ended(&self, claim: &Claim, ending: Ending, took: Duration) {
        let place = place(claim.job.kind, claim.job.lane);
        self.running.get_or_create(&place).dec();
        self.seconds.get_or_create(&place).observe(took.as_secs_f64(), trace::exemplar(), None);
        if let Some(age) = claim.age
            && ending == Ending::Completed
            && is_analysis(claim)
        {
            let lane = LaneLabel { lane: place.lane };
            self.analyses.get_or_create(&lane).observe((age + took).as_secs_f64(), trace::exemplar(), None);
        }
        let Place { kind, lane } = place;
        self.attempts.get_or_create(&Attempt { kind, lane, outcome: ending.as_str() }).inc();
    }

    pub(super) fn stale(&self, tickets: usize) {
        self.stale.inc_by(tickets as u64);
    }
}
