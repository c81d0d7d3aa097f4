//! Reads everything that a pool's plan follows from.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::{
    gpu_room,
    plan::{Facts, Platform},
    provider::Provider,
    scaling::{Autoscaler, Load},
};
use crate::{
    api::{Scaling, WorkerPool},
    cluster::{Cluster, Error},
    copies::Content,
    leftovers::around_a_pool,
    names::POOL_LABEL,
    platform::{
        dereference::{MOVING, references},
        observed::Rollout,
    },
    queues::Queues,
    resources::Owner,
    wanted,
};

/// Everything that the plan of `pool` follows from.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn facts(cluster: &Cluster, queues: &Queues, pool: &WorkerPool) -> Result<Facts, Error> {
    let copies = &cluster.copies;
    copies.check()?;
    let (name, platform_name) = (pool.name_any(), &pool.spec.platform_ref.name);
    let owner = Owner::of(pool, platform_name).ok_or_else(|| Error::Unstored(name.clone()))?;
    let platform = match copies.platform(&owner.namespace, platform_name) {
        None => None,
        Some(platform) => {
            let set_up = copies.platform_status(&owner.namespace, platform_name).and_then(|status| status.set_up);
            let references = references(cluster, &platform).await?;
            Some(Platform {
                settings: references.settings,
                secrets: references.secrets,
                pools: references.pools,
                set_up: set_up.map(|set_up| set_up.job),
                owner: references.owner,
            })
        }
    };
    let (rollout, provider) = rolled_out(cluster, &owner, pool).await?;
    let optional = copies.owned(&owner, &around_a_pool());
    let load = match (&pool.spec.scaling, &platform) {
        (Some(scaling), Some(platform)) => load(cluster, queues, pool, scaling, platform, rollout.as_ref()).await?,
        _ => Load::default(),
    };
    let missing = copies.missing();
    Ok(Facts { pool: pool.clone(), owner, platform, rollout, provider, optional, missing, load })
}

/// How its Deployment is doing, and where its models run. Somebody else's of the same name is neither counted nor scaled.
async fn rolled_out(
    cluster: &Cluster,
    owner: &Owner,
    pool: &WorkerPool,
) -> Result<(Option<Rollout>, Option<Provider>), Error> {
    let (namespace, name) = (owner.namespace.as_str(), pool.name_any());
    let deployments = cluster.copies.labelled("Deployment", namespace, (POOL_LABEL, &name));
    let own = deployments.into_iter().find(|(found, seen, _)| *found == name && owner.is_of(&seen.meta));
    let Some((_, seen, moved)) = own else { return Ok((None, None)) };
    let Content::Deployment { rollout, .. } = &seen.content else { return Ok((None, None)) };
    let stands_still = !rollout.complete && moved.elapsed() >= MOVING;
    if !stands_still && pool.spec.gpu.is_none() {
        // Its pods have nothing more to say.
        return Ok((Some(rollout.clone()), None));
    }
    let pods = cluster.pods(namespace, &owner.platform, moved).await?;
    let pods: Vec<Pod> = pods.iter().filter(|pod| pod.labels().get(POOL_LABEL) == Some(&name)).cloned().collect();
    let provider = pool.spec.gpu.as_ref().and_then(|_| Provider::of(&pods));
    Ok((Some(rollout.clone().told_by(&pods)), provider))
}

async fn load(
    cluster: &Cluster,
    queues: &Queues,
    pool: &WorkerPool,
    scaling: &Scaling,
    platform: &Platform,
    rollout: Option<&Rollout>,
) -> Result<Load, Error> {
    let (namespace, name) = (&platform.settings.namespace, pool.name_any());
    let autoscaler = ["ScaledObject", "HorizontalPodAutoscaler"].into_iter().find_map(|kind| {
        match &cluster.copies.get(kind, namespace, &name)?.content {
            Content::Autoscaler(conditions) => Some(Autoscaler { kind, conditions: conditions.clone() }),
            _ => None,
        }
    });
    // Only the operator takes the steps between none and one.
    let wanted = if rollout.is_some_and(|rollout| scaling.min == 0 || rollout.desired == 0) {
        let facts = queues.of(namespace, &platform.settings.name).await;
        Some(facts.map(|facts| {
            let wanted = wanted::of_pools(&facts.lanes, &platform.settings, platform.pools.iter()).remove(&name);
            (facts, wanted)
        }))
    } else {
        None
    };
    let room = gpu_room::room(&cluster.client, pool, scaling, namespace).await?;
    Ok(Load { wanted, autoscaler, room })
}
