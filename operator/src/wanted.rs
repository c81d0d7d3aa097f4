//! The pods that pools should have, for whoever asks: an autoscaler through the external-metrics API.
//!
//! Every instance of the operator answers from its copies of all platforms and pools, so that an answer costs the API server nothing.

use std::collections::BTreeMap;

use kube::ResourceExt;
use switchyard_contract::QueueStats;

use crate::{
    api::WorkerPool,
    capacity::{self, Pool, zero},
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
    /// What the pool `namespace`/`name` should have for its load.
    ///
    /// # Errors
    /// When nothing is known about the pool, or about what waits for it: in words.
    pub async fn load(&self, namespace: &str, name: &str) -> Result<PoolLoad, String> {
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
        let wanted = of_pools(&facts.lanes, &settings, siblings.iter()).remove(name).ok_or_else(|| {
            format!("the API of platform {platform_name} does not know every lane that WorkerPool {name} serves")
        })?;
        Ok(PoolLoad { wanted, idle: zero::is_idle(&Pool::of(name, &pool.spec), &facts.lanes) })
    }
}

/// The load of a pool.
#[derive(Debug, Clone)]
pub struct PoolLoad {
    /// The pods that it should have.
    pub wanted: capacity::Wanted,
    /// Whether nothing is going on, nor has been for five minutes.
    pub idle: bool,
}

/// The pods that each scaled pool of a platform should have for what waits.
pub fn of_pools<'a>(
    facts: &[QueueStats],
    settings: &Settings,
    pools: impl Iterator<Item = &'a WorkerPool>,
) -> BTreeMap<String, capacity::Wanted> {
    let pools: Vec<Pool> = pools
        .filter(|pool| pool.metadata.deletion_timestamp.is_none())
        .map(|pool| Pool::of(&pool.name_any(), &pool.spec))
        .collect();
    capacity::wanted(facts, &pools, &settings.lanes)
}
