//! The pods that pools should have, for whoever asks: an autoscaler through the external-metrics API.
//!
//! Every instance of the operator answers from its copies of all platforms and pools, so that an answer costs the API server nothing.

use std::collections::BTreeMap;

use kube::ResourceExt;
use switchyard_contract::QueueStats;

use crate::{
    autoscaling::platform_client::PlatformClient,
    capacity::{self, Pool, zero},
    crd::WorkerPool,
    kubernetes::cache::store::WatchCache,
    spec::settings::Settings,
};

/// Answers from copies of all platforms and pools, and from what their APIs tell. Cheap to clone.
#[derive(Clone)]
pub struct DesiredReplicas {
    pub platform_client: PlatformClient,
    pub cache: WatchCache,
}

impl DesiredReplicas {
    /// What the pool `namespace`/`name` should have for its load.
    ///
    /// # Errors
    /// When nothing is known about the pool, or about what waits for it: in words.
    pub async fn load(&self, namespace: &str, name: &str) -> Result<PoolLoad, String> {
        let pool = self
            .cache
            .pool(namespace, name)
            .ok_or_else(|| format!("there is no WorkerPool {name} in namespace {namespace}"))?;
        if pool.spec.scaling.is_none() {
            return Err(format!("WorkerPool {name} has no spec.scaling: its pods are fixed"));
        }
        let platform_name = &pool.spec.platform_ref.name;
        let platform = self
            .cache
            .platform(namespace, platform_name)
            .ok_or_else(|| format!("there is no AnalyticsPlatform {platform_name} in namespace {namespace}"))?;
        let siblings = self.cache.pools_of(namespace, platform_name);
        let settings = Settings::of(namespace, platform_name, &platform.spec);
        let stats = self.platform_client.of(namespace, platform_name).await?;
        let desired = of_pools(&stats.lanes, &settings, siblings.iter()).remove(name).ok_or_else(|| {
            format!("the API of platform {platform_name} does not know every lane that WorkerPool {name} serves")
        })?;
        Ok(PoolLoad { desired, idle: zero::is_idle(&Pool::of(name, &pool.spec), &stats.lanes) })
    }
}

/// The load of a pool.
#[derive(Debug, Clone)]
pub struct PoolLoad {
    /// The pods that it should have.
    pub desired: capacity::DesiredPods,
    /// Whether nothing is going on, nor has been for five minutes.
    pub idle: bool,
}

/// The pods that each scaled pool of a platform should have for what waits.
pub fn of_pools<'a>(
    stats: &[QueueStats],
    settings: &Settings,
    pools: impl Iterator<Item = &'a WorkerPool>,
) -> BTreeMap<String, capacity::DesiredPods> {
    let pools: Vec<Pool> = pools
        .filter(|pool| pool.metadata.deletion_timestamp.is_none())
        .map(|pool| Pool::of(&pool.name_any(), &pool.spec))
        .collect();
    capacity::desired_pods(stats, &pools, &settings.lanes)
}
