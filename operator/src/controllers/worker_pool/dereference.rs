//! Reads everything that a pool's plan follows from.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::{
    autoscaling::{desired_replicas, platform_client::PlatformClient},
    controllers::{
        platform::dereference::{MOVING, references},
        worker_pool::{
            execution_provider::ExecutionProvider,
            gpu_capacity,
            input::{PlatformSnapshot, PoolInput},
            scaling::{Autoscaler, Load},
        },
    },
    crd::{Scaling, WorkerPool},
    kubernetes::{
        cache::entry::ObservedState, error::Error, kinds::pool_kinds, reader::ClusterReader, rollout::Rollout,
    },
    resources::owner::Owner,
    spec::names::POOL_LABEL,
};

/// Everything that the plan of `pool` follows from.
///
/// # Errors
/// When the API server does not answer or refuses.
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
            let set_up = cache.platform_status(&owner.namespace, platform_name).and_then(|status| status.setup);
            let references = references(reader, &platform).await?;
            Some(PlatformSnapshot {
                settings: references.settings,
                secrets: references.secrets,
                pools: references.pools,
                set_up: set_up.map(|set_up| set_up.job),
                owner: references.owner,
            })
        }
    };
    let (rollout, provider) = rolled_out(reader, &owner, pool).await?;
    let optional = cache.owned(&owner, &pool_kinds());
    let load = match (&pool.spec.scaling, &platform) {
        (Some(scaling), Some(platform)) => {
            load(reader, platform_client, pool, scaling, platform, rollout.as_ref()).await?
        }
        _ => Load::default(),
    };
    let missing = cache.missing_kinds();
    Ok(PoolInput { pool: pool.clone(), owner, platform, rollout, provider, optional, missing, load })
}

/// How its Deployment is doing, and where its models run. Somebody else's of the same name is neither counted nor scaled.
async fn rolled_out(
    reader: &ClusterReader,
    owner: &Owner,
    pool: &WorkerPool,
) -> Result<(Option<Rollout>, Option<ExecutionProvider>), Error> {
    let (namespace, name) = (owner.namespace.as_str(), pool.name_any());
    let deployments = reader.cache.labelled("Deployment", namespace, (POOL_LABEL, &name));
    let own = deployments.into_iter().find(|(found, seen, _)| *found == name && owner.is_of(&seen.meta));
    let Some((_, seen, changed_at)) = own else { return Ok((None, None)) };
    let ObservedState::Deployment { rollout, .. } = &seen.state else { return Ok((None, None)) };
    let stands_still = !rollout.complete && changed_at.elapsed() >= MOVING;
    if !stands_still && pool.spec.gpu.is_none() {
        // Its pods have nothing more to say.
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
    scaling: &Scaling,
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
    // Only the operator takes the steps between none and one.
    let desired = if rollout.is_some_and(|rollout| scaling.min == 0 || rollout.desired == 0) {
        let stats = platform_client.queue_stats(namespace, &platform.settings.name).await;
        Some(stats.map(|stats| {
            let desired =
                desired_replicas::of_pools(&stats.lanes, &platform.settings, platform.pools.iter()).remove(&name);
            (stats, desired)
        }))
    } else {
        None
    };
    let gpu_capacity = gpu_capacity::gpu_capacity(&reader.client, pool, scaling, namespace).await?;
    Ok(Load { desired, autoscaler, gpu_capacity })
}
