//! Reads everything that a pool's plan follows from.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Client, ResourceExt};

use super::{
    plan::{Facts, Platform},
    provider::Provider,
};
use crate::{
    api::{AnalyticsPlatform, WorkerPool},
    cluster::{Error, get, list, owned},
    leftovers::disruption_budgets,
    names::POOL_LABEL,
    platform::{dereference::references, observed::Rollout},
    resources::Owner,
};

/// Everything that the plan of `pool` follows from.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn facts(client: &Client, pool: &WorkerPool) -> Result<Facts, Error> {
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
    let optional = owned(client, &owner, &[disruption_budgets()]).await?;
    Ok(Facts { pool: pool.clone(), owner, platform, rollout, provider, optional })
}
