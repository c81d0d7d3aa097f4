//! Reads everything that a pool's plan follows from.

use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{Client, ResourceExt};

use super::{
    gpu_room,
    plan::{Facts, Platform},
    provider::Provider,
    scaling::Load,
};
use crate::{
    api::{AnalyticsPlatform, Scaling, WorkerPool},
    cluster::{Error, get, list, owned},
    leftovers::{Found, around_a_pool, autoscalers},
    names::POOL_LABEL,
    platform::{dereference::references, observed::Rollout},
    queues::Queues,
    resources::Owner,
    wanted,
};

/// Everything that the plan of `pool` follows from.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn facts(client: &Client, queues: &Queues, pool: &WorkerPool) -> Result<Facts, Error> {
    let (name, platform_name) = (pool.name_any(), &pool.spec.platform_ref.name);
    let owner = Owner::of(pool, platform_name).ok_or_else(|| Error::Unstored(name.clone()))?;
    let namespace = &owner.namespace;
    let platform = match get::<AnalyticsPlatform>(client, namespace, platform_name).await? {
        None => None,
        Some(platform) => {
            let set_up =
                platform.status.as_ref().and_then(|status| status.set_up.as_ref()).map(|set_up| set_up.job.clone());
            let references = references(client, &platform).await?;
            Some(Platform {
                settings: references.settings,
                secrets: references.secrets,
                pools: references.pools,
                set_up,
                owner: references.owner,
            })
        }
    };
    // Somebody else's of the same name is neither counted nor scaled.
    let deployment = get::<Deployment>(client, namespace, &name).await?;
    let (rollout, provider) = match deployment.filter(|deployment| owner.owns(deployment)) {
        None => (None, None),
        Some(deployment) => {
            let pods: Vec<Pod> = list(client, namespace, platform_name).await?;
            let ours: Vec<Pod> = pods.into_iter().filter(|pod| pod.labels().get(POOL_LABEL) == Some(&name)).collect();
            let provider = pool.spec.gpu.as_ref().and_then(|_| Provider::of(&ours));
            (Some(Rollout::of_deployment(&deployment, &ours)), provider)
        }
    };
    let (optional, _) = owned(client, &owner, &around_a_pool()).await?;
    let load = match (&pool.spec.scaling, &platform) {
        (Some(scaling), Some(platform)) => {
            load(client, queues, pool, scaling, platform, rollout.as_ref(), &optional).await?
        }
        _ => Load::default(),
    };
    Ok(Facts { pool: pool.clone(), owner, platform, rollout, provider, optional, load })
}

async fn load(
    client: &Client,
    queues: &Queues,
    pool: &WorkerPool,
    scaling: &Scaling,
    platform: &Platform,
    rollout: Option<&Rollout>,
    optional: &[Found],
) -> Result<Load, Error> {
    let (namespace, name) = (&platform.settings.namespace, pool.name_any());
    let is_there = optional.iter().any(|found| found.resource == autoscalers() && found.name == name);
    let autoscaler = if is_there { get::<HorizontalPodAutoscaler>(client, namespace, &name).await? } else { None };
    // Only the operator takes the steps between none and one.
    let wanted = if rollout.is_some_and(|rollout| scaling.min == 0 || rollout.desired == 0) {
        let wanted = wanted::of_platform(queues, &platform.settings, platform.pools.iter()).await;
        Some(match (queues.of(namespace, &platform.settings.name).await, wanted) {
            (Ok(facts), Ok(mut wanted)) => Ok((facts, wanted.remove(&name))),
            (Err(words), _) | (_, Err(words)) => Err(words),
        })
    } else {
        None
    };
    let room = gpu_room::room(client, pool, scaling, namespace).await?;
    Ok(Load { wanted, autoscaler: autoscaler.map(Load::conditions_of), room })
}
