//! What the AI worker counts, besides what the runner counts about jobs.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::ModelInfo;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    /// `model` or `rules`.
    by: &'static str,
}

/// The counters of one process.
pub struct Metrics {
    posts: Family<By, Counter>,
    chunk_seconds: Histogram,
    healthy: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            posts: Family::default(),
            chunk_seconds: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            healthy: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Makes the counters visible in `registry`, and which model runs and on how many threads.
    pub fn register(&self, registry: &mut Registry, model: &ModelInfo, threads: usize) {
        registry.register(
            "switchyard_model_posts",
            "Posts analysed, by the model or by the rules that stand in for it",
            self.posts.clone(),
        );
        registry.register_with_unit(
            "switchyard_model_chunk",
            "Time for one chunk of posts, waiting included",
            Unit::Seconds,
            self.chunk_seconds.clone(),
        );
        registry.register(
            "switchyard_model_healthy",
            "Whether the model answered its probe rightly when last asked",
            self.healthy.clone(),
        );
        let labels =
            vec![("name", model.name.clone()), ("version", model.version.clone()), ("threads", threads.to_string())];
        registry.register("switchyard_model", "The model that runs", Info::new(labels));
    }

    /// One chunk answered.
    pub fn chunk(&self, posts: usize, took: Duration, fallback: bool) {
        let by = if fallback { "rules" } else { "model" };
        self.posts.get_or_create(&By { by }).inc_by(posts as u64);
        self.chunk_seconds.observe(took.as_secs_f64());
    }

    /// What the last health check said.
    pub fn healthy(&self, healthy: bool) {
        self.healthy.set(i64::from(healthy));
    }
}
