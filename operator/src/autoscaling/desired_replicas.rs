//! Desired replicas of pools, for KEDA and the external metrics API.
//!
//! Every instance of the operator answers from its watch cache, so an answer makes no call of the
//! API server.

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

/// Computes desired replicas from the watch cache and the queue statistics of the platforms. Cheap
/// to clone.
#[derive(Clone)]
pub struct DesiredReplicas {
    pub platform_client: PlatformClient,
    pub cache: WatchCache,
}

impl DesiredReplicas {
    /// The load of the pool `namespace`/`name`.
    ///
    /// # Errors
    /// With a message if the pool or its queue statistics are not known.
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
        let stats = self.platform_client.queue_stats(namespace, platform_name).await?;
        let desired = of_pools(&stats.lanes, &settings, siblings.iter()).remove(name).ok_or_else(|| {
            format!("the API of platform {platform_name} does not know every lane that WorkerPool {name} serves")
        })?;
        Ok(PoolLoad { desired, idle: zero::is_idle(&Pool::of(name, &pool.spec), &stats.lanes) })
    }
}

/// The load of a pool.
#[derive(Debug, Clone)]
pub struct PoolLoad {
    /// Desired pods, with fractions.
    pub desired: capacity::DesiredPods,
    /// Whether the pool has had nothing to do for five minutes.
    pub idle: bool,
}

/// Desired pods of each scaled pool of a platform, by name.
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
