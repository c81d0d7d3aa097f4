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

/// The operator's metrics; clones share them.
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
    /// Metrics beside those of `fleet`.
    pub fn showing(fleet: impl Collector) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(fleet));
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
        registry.register("reconciles", "Reconciles that ended", reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that failed", errors.clone());
        registry.register("reconcile_duration_seconds", "Time that a reconcile took", seconds.clone());
        registry.register("status_writes", "Times that a status was written", status_writes.clone());
        registry.register("api_calls", "Calls of the API server, the election's left out", calls.clone());
        registry.register("leader", "1 while this instance holds the lease", leader.clone());
        let recoveries = Family::default();
        registry.register("recoveries", "What was healed without anybody asking", recoveries.clone());
        Self { registry: Arc::new(all), recoveries, reconciles, errors, seconds, status_writes, calls, leader }
    }

    /// Something of a platform was healed.
    pub fn recovered(&self, namespace: &str, platform: &str, action: &'static str) {
        let labels = RecoveryLabels {
            namespace: namespace.to_owned(),
            platform: platform.to_owned(),
            action: action.to_owned(),
        };
        self.recoveries.get_or_create(&labels).inc();
    }

    /// A reconcile of an object of `kind` ended.
    pub fn reconciled(&self, kind: &str, took: Duration) {
        let label = Kind { kind: kind.to_owned() };
        self.reconciles.get_or_create(&label).inc();
        self.seconds.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// A reconcile of an object of `kind` failed.
    pub fn error(&self, kind: &str, category: &str) {
        self.errors.get_or_create(&Failure { kind: kind.to_owned(), category: category.to_owned() }).inc();
    }

    /// A status was written.
    pub fn status_written(&self, kind: &str) {
        self.status_writes.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    /// The API server is called.
    pub fn called(&self, verb: &str) {
        self.calls.get_or_create(&Verb { verb: verb.to_owned() }).inc();
    }

    /// Whether this instance holds the lease.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// In the format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
