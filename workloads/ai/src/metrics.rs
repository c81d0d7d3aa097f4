//! Metrics of the ai worker. The runner adds those about jobs.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{engine::Engine, model::Provider};

/// What answered a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    Model,
    /// The canary model, which answers a share of the tenants.
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

/// The metrics of one process.
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

impl AnsweredBy {
    const ALL: [Self; 3] = [Self::Model, Self::Candidate, Self::Rules];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Candidate => "candidate",
            Self::Rules => "rules",
        }
    }
}

/// The roles of the running models, the stable one first.
const ROLES: [&str; 2] = ["stable", "candidate"];

/// A gauge of each running model, and of each model's execution provider.
#[derive(Default)]
struct Models {
    info: Family<ModelLabels, Gauge>,
    as_requested: Family<ProviderLabels, Gauge>,
}

impl Models {
    fn register(self, registry: &mut Registry) {
        registry.register("switchyard_model_info", "The running models, and their execution providers", self.info);
        registry.register(
            "switchyard_model_provider_ok",
            "Whether the model runs on the requested execution provider: 0 if it fell back from a GPU to the CPU",
            self.as_requested,
        );
    }
}

impl Metrics {
    /// Registers the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "switchyard_model_posts",
            "Posts analysed, by what answered: the model, the candidate, or the rules as the fallback",
            self.posts.clone(),
        );
        registry.register_with_unit(
            "switchyard_model_chunk",
            "Time for one chunk of posts, including the time in the queue",
            Unit::Seconds,
            self.chunk_seconds.clone(),
        );
        registry.register("switchyard_model_healthy", "Whether the model passed its last probe", self.healthy.clone());
    }

    /// Registers the running models, the stable one first, each with its number of threads. Called
    /// once.
    pub fn models(registry: &mut Registry, engines: &[&Engine], threads: usize) {
        let models = Models::default();
        for (engine, role) in engines.iter().zip(ROLES) {
            let (info, placement) = (engine.info(), engine.placement());
            let labels = ModelLabels {
                role,
                name: info.name.clone(),
                version: info.version.clone(),
                threads: threads.to_string(),
                provider: placement.actual.as_str(),
            };
            models.info.get_or_create(&labels).set(1);
            let labels = ProviderLabels { role, wanted: placement.requested.as_str() };
            models.as_requested.get_or_create(&labels).set(i64::from(placement.reason.is_none()));
        }
        models.register(registry);
    }

    /// Registers all metrics with a series of each, for each value of its labels.
    pub fn sample(registry: &mut Registry) {
        let metrics = Self::default();
        metrics.register(registry);
        for by in AnsweredBy::ALL {
            drop(metrics.posts.get_or_create(&Labels { by: by.as_str() }));
        }
        let models = Models::default();
        for (role, provider) in ROLES.into_iter().flat_map(|role| Provider::ALL.map(|provider| (role, provider))) {
            let open = String::new;
            let provider = provider.as_str();
            let labels = ModelLabels { role, name: open(), version: open(), threads: open(), provider };
            drop(models.info.get_or_create(&labels));
            drop(models.as_requested.get_or_create(&ProviderLabels { role, wanted: provider }));
        }
        models.register(registry);
    }

    /// Counts an answered chunk.
    pub fn chunk(&self, posts: usize, took: Duration, by: AnsweredBy) {
        self.posts.get_or_create(&Labels { by: by.as_str() }).inc_by(posts as u64);
        self.chunk_seconds.observe(took.as_secs_f64());
    }

    /// Records the result of the last probe.
    pub fn healthy(&self, healthy: bool) {
        self.healthy.set(i64::from(healthy));
    }
}
