//! The spec of a pool with all defaults applied. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use switchyard_contract::{Kind, Lane};

use crate::{
    crd::{Gpu, Resources, WorkerPoolSpec},
    spec::{
        connection_budget::{PoolDemand, Share, share},
        defaults,
        replicas::{Replicas, ScalingBounds},
        settings::Settings,
    },
};

/// The number of pods of a pool.
pub fn pool_replicas(spec: &WorkerPoolSpec) -> Replicas {
    Replicas::of(spec.replicas, spec.scaling.as_ref().map(ScalingBounds::from), 1)
}

/// The connections that a pool requests of a platform with `max` connections. `created` orders
/// pools by age.
pub fn pool_demand(name: &str, created: i64, spec: &WorkerPoolSpec, max: u32) -> PoolDemand {
    let replicas = pool_replicas(spec);
    let role = Kind::role(spec.kind);
    PoolDemand {
        name: name.to_owned(),
        age_order: created,
        role,
        pods_at_most: replicas.pods_at_most(),
        bound: replicas.bound(),
        share: spec.connections.as_ref().filter(|c| c.size.is_some() || c.overflow.is_some()).map(|connections| {
            share(Share { size: 0, overflow: 0, ..Share::default_of(role, max) }, Some(connections))
        }),
    }
}

/// The extended resource of NVIDIA's device plug-in.
const DEFAULT_GPU: &str = "nvidia.com/gpu";

/// The lanes that a pool serves, the most urgent first.
pub fn lanes(spec: &WorkerPoolSpec) -> Vec<Lane> {
    Lane::ALL.iter().copied().filter(|lane| spec.lanes.as_ref().is_none_or(|lanes| lanes.contains(lane))).collect()
}

/// Resources of a worker container, including the GPUs.
pub fn container_resources(settings: &Settings, spec: &WorkerPoolSpec) -> Resources {
    let resources = defaults::worker_resources(settings.environment, spec.kind).overridden_by(spec.resources.as_ref());
    spec.gpu.as_ref().map_or_else(|| resources.clone(), |gpu| with_gpu(&resources, gpu))
}

/// The extended resource of a GPU.
pub fn gpu_resource(gpu: &Gpu) -> &str {
    gpu.resource.as_deref().unwrap_or(DEFAULT_GPU)
}

/// Adds the GPUs as a limit. For extended resources Kubernetes uses the limit as the request.
fn with_gpu(resources: &Resources, gpu: &Gpu) -> Resources {
    let name = gpu_resource(gpu).to_owned();
    let over = Resources { requests: None, limits: Some(BTreeMap::from([(name, Quantity(gpu.count.to_string()))])) };
    resources.overridden_by(Some(&over))
}
