//! Metrics of the workers. The runner adds those about jobs. Every label has a closed set of
//! values.
use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    source_calls: Family<Outcome, Counter>,
    source_seconds: Histogram,
    source_wait_seconds: Histogram,
    profile_source_fallbacks: Counter,
    images: Family<Outcome, Counter>,
    image_bytes: Counter,
    image_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            source_calls: Family::default(),
            source_seconds: Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0]),
            source_wait_seconds: Histogram::new([0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0]),
            profile_source_fallbacks: Counter::default(),
            images: Family::default(),
            image_bytes: Counter::default(),
            image_seconds: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
        }
    }
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "switchyard_profile_source_calls",
            "Profiles requested from the profile source, by outcome",
            self.source_calls.clone(),
        );
        registry.register(
            "switchyard_profile_source_seconds",
            "Time until the profile source returned a profile or an error",
            self.source_seconds.clone(),
        );
        registry.register(
            "switchyard_profile_source_wait_seconds",
            "Time that a run of the profile source waited for the rate limits",
            self.source_wait_seconds.clone(),
        );
        registry.register(
            "switchyard_profile_source_fallbacks",
            "Profiles taken from the cache because the profile source was unavailable",
            self.profile_source_fallbacks.clone(),
        );
        registry.register("switchyard_images", "Images handled, by outcome", self.images.clone());
        registry.register("switchyard_image_bytes", "Bytes of images fetched", self.image_bytes.clone());
        registry.register(
            "switchyard_image_seconds",
            "Time from the start of the fetch to the stored image",
            self.image_seconds.clone(),
        );
    }

    /// Creates a series of each metric, for each value of its labels.
    pub(crate) fn sample(&self, source_outcomes: &[&'static str], image_outcomes: &[&'static str]) {
        for &outcome in source_outcomes {
            drop(self.source_calls.get_or_create(&Outcome { outcome }));
        }
        for &outcome in image_outcomes {
            drop(self.images.get_or_create(&Outcome { outcome }));
        }
    }

    /// Counts a profile requested from the source; `outcome` is `found` or an error's code.
    pub(crate) fn source_call(&self, outcome: &'static str, took: Duration) {
        self.source_calls.get_or_create(&Outcome { outcome }).inc();
        self.source_seconds.observe(took.as_secs_f64());
    }

    /// Records how long a run waited for the rate limits, whether or not it may start.
    pub(crate) fn source_waited(&self, took: Duration) {
        self.source_wait_seconds.observe(took.as_secs_f64());
    }

    /// Counts a cached profile used instead of a fresh one.
    pub(crate) fn source_fallback(&self) {
        self.profile_source_fallbacks.inc();
    }

    /// Counts an image of `bytes`; `outcome` is `stored`, `known`, `described` or an error's code.
    pub(crate) fn image(&self, outcome: &'static str, bytes: usize, took: Duration) {
        self.images.get_or_create(&Outcome { outcome }).inc();
        self.image_bytes.inc_by(bytes as u64);
        self.image_seconds.observe(took.as_secs_f64());
    }
}
