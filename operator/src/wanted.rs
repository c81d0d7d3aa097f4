//! The pods that pools should have, for whoever asks: an autoscaler through the external-metrics API.
//!
//! Every instance of the operator answers from its copies of all platforms and pools, so that an answer costs the API server nothing.

use std::collections::BTreeMap;

use kube::ResourceExt;
use switchyard_contract::QueueFacts;

use crate::{
    api::WorkerPool,
    capacity::{self, Pool},
    copies::Copies,
    platform::settings::Settings,
    queues::Queues,
};

/// Answers from copies of all platforms and pools, and from what their APIs tell. Cheap to clone.
#[derive(Clone)]
pub struct Wanted {
    pub queues: Queues,
    pub copies: Copies,
}

impl Wanted {
    /// The pods that the pool `namespace`/`name` should have.
    ///
    /// # Errors
    /// When nothing is known about the pool, or about what waits for it: in words.
    pub async fn pods(&self, namespace: &str, name: &str) -> Result<capacity::Wanted, String> {
        let pool = self
            .copies
            .pool(namespace, name)
            .ok_or_else(|| format!("there is no WorkerPool {name} in namespace {namespace}"))?;
        if pool.spec.scaling.is_none() {
            return Err(format!("WorkerPool {name} has no spec.scaling: its pods are fixed"));
        }
        let platform_name = &pool.spec.platform_ref.name;
        let platform = self
            .copies
            .platform(namespace, platform_name)
            .ok_or_else(|| format!("there is no AnalyticsPlatform {platform_name} in namespace {namespace}"))?;
        let siblings = self.copies.pools_of(namespace, platform_name);
        let settings = Settings::of(namespace, platform_name, &platform.spec);
        let facts = self.queues.of(namespace, platform_name).await?;
        of_pools(&facts, &settings, siblings.iter()).remove(name).ok_or_else(|| {
            format!("the API of platform {platform_name} does not know every lane that WorkerPool {name} serves")
        })
    }
}

/// The pods that each scaled pool of a platform should have for what waits.
pub fn of_pools<'a>(
    facts: &[QueueFacts],
    settings: &Settings,
    pools: impl Iterator<Item = &'a WorkerPool>,
) -> BTreeMap<String, capacity::Wanted> {
    let pools: Vec<Pool> = pools
        .filter(|pool| pool.metadata.deletion_timestamp.is_none())
        .map(|pool| Pool::of(&pool.name_any(), &pool.spec))
        .collect();
    capacity::wanted(facts, &pools, &settings.lanes)
}
