//! Reads the input of a pool's plan from the watch cache and the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::{
    autoscaling::{desired_replicas, platform_client::PlatformClient},
    controllers::{
        platform::dereference::{SETTLE_TIME, references},
        worker_pool::{
            execution_provider::ExecutionProvider,
            gpu_capacity,
            input::{PlatformSnapshot, PoolInput},
            scaling::{Autoscaler, Load},
        },
    },
    crd::WorkerPool,
    kubernetes::{
        cache::entry::ObservedState, error::Error, kinds::pool_kinds, reader::ClusterReader, rollout::Rollout,
    },
    resources::owner::Owner,
    spec::{names::POOL_LABEL, pool::pool_replicas, replicas::ScalingBounds},
};

/// Reads the input of the plan of `pool`.
///
/// # Errors
/// If the API server does not answer or refuses.
pub async fn dereference(
    reader: &ClusterReader,
    platform_client: &PlatformClient,
    pool: &WorkerPool,
) -> Result<PoolInput, Error> {
    let cache = &reader.cache;
    cache.check_watches()?;
    let (name, platform_name) = (pool.name_any(), &pool.spec.platform_ref.name);
    let owner = Owner::of(pool, platform_name).ok_or_else(|| Error::Unstored(name.clone()))?;
    let platform = match cache.platform(&owner.namespace, platform_name) {
        None => None,
        Some(platform) => {
            let setup = cache.platform_status(&owner.namespace, platform_name).and_then(|status| status.setup);
            let references = references(reader, &platform).await?;
            Some(PlatformSnapshot {
                settings: references.settings,
                secrets: references.secrets,
                pools: references.pools,
                setup_job: setup.map(|setup| setup.job),
                owner: references.owner,
            })
        }
    };
    let (rollout, provider) = rollout(reader, &owner, pool).await?;
    let optional = cache.owned(&owner, &pool_kinds());
    let load = match (pool_replicas(&pool.spec).scaling(), &platform) {
        (Some(bounds), Some(platform)) => {
            load(reader, platform_client, pool, bounds, platform, rollout.as_ref()).await?
        }
        _ => Load::default(),
    };
    let missing = cache.missing_kinds();
    Ok(PoolInput { pool: pool.clone(), owner, platform, rollout, provider, optional, missing, load })
}

/// The rollout of its Deployment, and where its models run. A foreign Deployment of the same name
/// is ignored.
async fn rollout(
    reader: &ClusterReader,
    owner: &Owner,
    pool: &WorkerPool,
) -> Result<(Option<Rollout>, Option<ExecutionProvider>), Error> {
    let (namespace, name) = (owner.namespace.as_str(), pool.name_any());
    let deployments = reader.cache.labelled("Deployment", namespace, (POOL_LABEL, &name));
    let own = deployments.into_iter().find(|(found, seen, _)| *found == name && owner.is_of(&seen.meta));
    let Some((_, seen, changed_at)) = own else { return Ok((None, None)) };
    let ObservedState::Deployment { rollout, .. } = &seen.state else { return Ok((None, None)) };
    let is_stuck = !rollout.complete && changed_at.elapsed() >= SETTLE_TIME;
    if !is_stuck && pool.spec.gpu.is_none() {
        // Its pods add no information.
        return Ok((Some(rollout.clone()), None));
    }
    let pods = reader.pods(namespace, &owner.platform, changed_at).await?;
    let pods: Vec<Pod> = pods.iter().filter(|pod| pod.labels().get(POOL_LABEL) == Some(&name)).cloned().collect();
    let provider = pool.spec.gpu.as_ref().and_then(|_| ExecutionProvider::of(&pods));
    Ok((Some(rollout.clone().with_pods(&pods)), provider))
}

async fn load(
    reader: &ClusterReader,
    platform_client: &PlatformClient,
    pool: &WorkerPool,
    bounds: ScalingBounds,
    platform: &PlatformSnapshot,
    rollout: Option<&Rollout>,
) -> Result<Load, Error> {
    let (namespace, name) = (&platform.settings.namespace, pool.name_any());
    let autoscaler = ["ScaledObject", "HorizontalPodAutoscaler"].into_iter().find_map(|kind| {
        match &reader.cache.get(kind, namespace, &name)?.state {
            ObservedState::Autoscaler(conditions) => Some(Autoscaler { kind, conditions: conditions.clone() }),
            _ => None,
        }
    });
    // Autoscalers do not scale to or from zero, so the operator needs the demand itself.
    let desired = if rollout.is_some_and(|rollout| bounds.min() == 0 || rollout.desired == 0) {
        let stats = platform_client.queue_stats(namespace, &platform.settings.name).await;
        Some(stats.map(|stats| {
            let desired =
                desired_replicas::of_pools(&stats.lanes, &platform.settings, platform.pools.iter()).remove(&name);
            (stats, desired)
        }))
    } else {
        None
    };
    let gpu_capacity = gpu_capacity::gpu_capacity(&reader.client, pool, bounds, namespace).await?;
    Ok(Load { desired, autoscaler, gpu_capacity })
}
