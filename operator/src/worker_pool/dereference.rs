//! Reads everything that a pool's plan follows from.

use futures::future::try_join;
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
    let kinds = around_a_pool();
    let ((rollout, provider), (optional, _)) =
        try_join(rolled_out(client, &owner, pool), owned(client, &owner, &kinds)).await?;
    let load = match (&pool.spec.scaling, &platform) {
        (Some(scaling), Some(platform)) => {
            load(client, queues, pool, scaling, platform, rollout.as_ref(), &optional).await?
        }
        _ => Load::default(),
    };
    Ok(Facts { pool: pool.clone(), owner, platform, rollout, provider, optional, load })
}

/// How its Deployment is doing, and where its models run. Somebody else's of the same name is neither counted nor scaled.
async fn rolled_out(
    client: &Client,
    owner: &Owner,
    pool: &WorkerPool,
) -> Result<(Option<Rollout>, Option<Provider>), Error> {
    let name = pool.name_any();
    let deployment = get::<Deployment>(client, &owner.namespace, &name).await?;
    let Some(deployment) = deployment.filter(|deployment| owner.owns(deployment)) else { return Ok((None, None)) };
    let rollout = Rollout::of_deployment(&deployment, &[]);
    if rollout.complete && pool.spec.gpu.is_none() {
        // Its pods have nothing more to say.
        return Ok((Some(rollout), None));
    }
    let pods: Vec<Pod> = list(client, &owner.namespace, POOL_LABEL, &name).await?;
    let provider = pool.spec.gpu.as_ref().and_then(|_| Provider::of(&pods));
    Ok((Some(Rollout::of_deployment(&deployment, &pods)), provider))
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
        let facts = queues.of(namespace, &platform.settings.name).await;
        Some(facts.map(|facts| {
            let wanted = wanted::of_pools(&facts, &platform.settings, platform.pools.iter()).remove(&name);
            (facts, wanted)
        }))
    } else {
        None
    };
    let room = gpu_room::room(client, pool, scaling, namespace).await?;
    Ok(Load { wanted, autoscaler: autoscaler.map(Load::conditions_of), room })
}
