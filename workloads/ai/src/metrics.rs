//! What the AI worker counts, besides what the runner counts about jobs.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::Engine;

/// Who answered a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Model,
    /// The model that a part of the tenants tries.
    Candidate,
    Rules,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    by: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    role: &'static str,
    name: String,
    version: String,
    threads: String,
    provider: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    role: &'static str,
    wanted: &'static str,
}

/// The counters of one process.
pub struct Metrics {
    posts: Family<Labels, Counter>,
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
    /// Makes the counters visible in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "switchyard_model_posts",
            "Posts analysed, by the model, by the candidate that a part of the tenants tries, or by the rules that stand in for them",
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
    }

    /// Tells of the models that run, the stable one first, and on how many threads each; called once.
    pub fn models(registry: &mut Registry, engines: &[&Engine], threads: usize) {
        let (models, wanted) = (Family::<ModelLabels, Gauge>::default(), Family::<ProviderLabels, Gauge>::default());
        for (engine, role) in engines.iter().zip(["stable", "candidate"]) {
            let (info, runs) = (engine.info(), engine.runs());
            let labels = ModelLabels {
                role,
                name: info.name.clone(),
                version: info.version.clone(),
                threads: threads.to_string(),
                provider: runs.on.as_str(),
            };
            models.get_or_create(&labels).set(1);
            let labels = ProviderLabels { role, wanted: runs.wanted.as_str() };
            wanted.get_or_create(&labels).set(i64::from(runs.reason.is_none()));
        }
        registry.register("switchyard_model_info", "The models that run, and where", models);
        registry.register(
            "switchyard_model_provider_ok",
            "Whether the model runs where it was to: 0 where a GPU was wanted and the processor stands in",
            wanted,
        );
    }

    /// One chunk answered.
    pub fn chunk(&self, posts: usize, took: Duration, by: By) {
        let by = match by {
            By::Model => "model",
            By::Candidate => "candidate",
            By::Rules => "rules",
        };
        self.posts.get_or_create(&Labels { by }).inc_by(posts as u64);
        self.chunk_seconds.observe(took.as_secs_f64());
    }

    /// What the last health check said.
    pub fn healthy(&self, healthy: bool) {
        self.healthy.set(i64::from(healthy));
    }
}
