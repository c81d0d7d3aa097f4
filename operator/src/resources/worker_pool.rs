//! The default WorkerPools of a platform.

use switchyard_contract::Kind;

use crate::{
    crd::{PlatformRef, WorkerPool, WorkerPoolSpec},
    resources::owner::Owner,
};

/// Name of a platform's default pool of `kind`.
pub fn default_name(platform: &str, kind: Kind) -> String {
    format!("{platform}-{kind}")
}

/// A platform's default pool of `kind`. It does not set replicas, so that values of `kubectl scale`
/// and autoscalers stay.
pub fn default_pool(owner: &Owner, kind: Kind) -> WorkerPool {
    let spec = WorkerPoolSpec {
        platform_ref: PlatformRef { name: owner.platform.clone() },
        kind,
        lanes: None,
        replicas: None,
        scaling: None,
        concurrency: None,
        connections: None,
        gpu: None,
        resources: None,
        pod_template: None,
    };
    let mut pool = WorkerPool::new("", spec);
    pool.metadata = owner.meta(default_name(&owner.platform, kind), "worker");
    pool
}
