use switchyard_contract::Kind;

use crate::{
    crd::{PlatformRef, WorkerPool, WorkerPoolSpec},
    resources::owner::Owner,
};

/// Name of a platform's default pool of `kind`.
pub fn default_name(platform: &str, kind: Kind) -> String {
    format!("{platform}-{kind}")
}

/// A platform's default pool of `kind`. It says nothing about replicas, so that `kubectl scale` and autoscalers keep what they set.
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
