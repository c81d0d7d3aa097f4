//! Metrics of the operator.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    verb: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: String,
    category: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecoveryLabels {
    namespace: String,
    platform: String,
    action: String,
}

/// The categories of a failed reconcile.
pub const CATEGORIES: [&str; 3] = ["refused", "unanswered", "unstored"];

/// The recovery that replaces a pod.
pub const POD_REPLACED: &str = "pod-replaced";

/// The metrics of the operator. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<Kind, Counter>,
    errors: Family<Failure, Counter>,
    seconds: Family<Kind, Histogram>,
    status_writes: Family<Kind, Counter>,
    calls: Family<Verb, Counter>,
    leader: Gauge,
    recoveries: Family<RecoveryLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::of(Registry::default())
    }
}

impl Metrics {
    /// Metrics that also export those of `collector`.
    pub fn with_collector(collector: impl Collector) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collector));
        Self::of(registry)
    }

    fn of(mut all: Registry) -> Self {
        let registry = all.sub_registry_with_prefix("switchyard_operator");
        let reconciles = Family::default();
        let errors = Family::default();
        let seconds = Family::new_with_constructor(
            (|| Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])) as fn() -> Histogram,
        );
        let status_writes = Family::default();
        let calls = Family::default();
        let leader = Gauge::default();
        registry.register("reconciles", "Completed reconciles", reconciles.clone());
        registry.register("reconcile_errors", "Failed reconciles", errors.clone());
        registry.register("reconcile_duration_seconds", "Duration of a reconcile", seconds.clone());
        registry.register("status_writes", "Status updates", status_writes.clone());
        registry.register("api_calls", "API calls, without those of leader election", calls.clone());
        registry.register("leader", "1 while this instance holds the lease", leader.clone());
        let recoveries = Family::default();
        registry.register("recoveries", "Automatic recoveries", recoveries.clone());
        Self { registry: Arc::new(all), recoveries, reconciles, errors, seconds, status_writes, calls, leader }
    }

    /// Creates a series of each metric, for each value of its labels.
    pub fn sample(&self) {
        for kind in ["AnalyticsPlatform", "WorkerPool"] {
            self.reconciled(kind, Duration::ZERO);
            self.status_written(kind);
            for category in CATEGORIES {
                self.error(kind, category);
            }
        }
        for verb in ["DELETE", "GET", "PATCH", "POST", "PUT"] {
            self.count_call(verb);
        }
        self.recovered("", "", POD_REPLACED);
    }

    /// Counts a recovery.
    pub fn recovered(&self, namespace: &str, platform: &str, action: &'static str) {
        let labels = RecoveryLabels {
            namespace: namespace.to_owned(),
            platform: platform.to_owned(),
            action: action.to_owned(),
        };
        self.recoveries.get_or_create(&labels).inc();
    }

    /// Counts and times a completed reconcile of an object of `kind`.
    pub fn reconciled(&self, kind: &str, took: Duration) {
        let label = Kind { kind: kind.to_owned() };
        self.reconciles.get_or_create(&label).inc();
        self.seconds.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// Counts a failed reconcile of an object of `kind`.
    pub fn error(&self, kind: &str, category: &str) {
        self.errors.get_or_create(&Failure { kind: kind.to_owned(), category: category.to_owned() }).inc();
    }

    /// Counts a status update.
    pub fn status_written(&self, kind: &str) {
        self.status_writes.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    /// Counts a call of the API server.
    pub fn count_call(&self, verb: &str) {
        self.calls.get_or_create(&Verb { verb: verb.to_owned() }).inc();
    }

    /// Sets whether this instance leads.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Renders all metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
