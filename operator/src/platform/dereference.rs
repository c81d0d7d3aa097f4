//! Reads everything that a platform's plan follows from.

use futures::future::{try_join, try_join_all};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{Pod, Secret},
};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{
    credentials::{Secrets, Values, generate, named},
    observed::{Observed, observed},
    plan::Facts,
    settings::Settings,
};
use crate::{
    api::{AnalyticsPlatform, WorkerPool},
    cluster::{Error, get, list, owned},
    leftovers::around_workloads,
    names::PLATFORM_LABEL,
    resources::Owner,
};

/// What a platform's workloads depend on, without what is running.
pub struct References {
    pub settings: Settings,
    pub owner: Owner,
    /// Secrets that there are, with those that are to be generated.
    pub secrets: Secrets,
    /// Secrets that do not exist yet.
    pub to_generate: Vec<super::credentials::Generated>,
    pub pools: Vec<WorkerPool>,
}

/// Reads the Secrets and the pools of `platform`.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn references(client: &Client, platform: &AnalyticsPlatform) -> Result<References, Error> {
    let name = platform.name_any();
    let namespace = platform.namespace().ok_or_else(|| Error::Unstored(name.clone()))?;
    let settings = Settings::of(&namespace, &name, &platform.spec);
    let owner = Owner::of(platform, &name).ok_or_else(|| Error::Unstored(name.clone()))?;
    let wanted = generate(&settings, &mut rand::rng());
    let names: Vec<String> =
        named(&settings).into_iter().chain(wanted.iter().map(|fresh| fresh.name.clone())).collect();
    let reading = try_join_all(names.iter().map(|secret| read_secret(client, &namespace, secret)));
    let (values, pools) = try_join(reading, pools(client, &namespace, &name)).await?;
    let mut secrets = Secrets(names.into_iter().zip(values).collect());
    let to_generate: Vec<_> = wanted.into_iter().filter(|fresh| secrets.get(&fresh.name).is_none()).collect();
    for fresh in &to_generate {
        secrets.0.insert(fresh.name.clone(), Some(fresh.values.clone()));
    }
    Ok(References { settings, owner, secrets, to_generate, pools })
}

/// Everything that the plan of `platform` follows from.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn facts(client: &Client, platform: &AnalyticsPlatform) -> Result<Facts, Error> {
    let References { settings, owner, secrets, to_generate, pools } = references(client, platform).await?;
    let (namespace, name) = (&settings.namespace, &settings.name);
    let kinds = around_workloads();
    let (jobs, sets, deployments, optional) = futures::try_join!(
        list::<Job>(client, namespace, PLATFORM_LABEL, name),
        list::<StatefulSet>(client, namespace, PLATFORM_LABEL, name),
        list::<Deployment>(client, namespace, PLATFORM_LABEL, name),
        owned(client, &owner, &kinds),
    )?;
    // A label is anybody's to set: only what the platform owns is a set-up Job or a server of its own.
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| owner.owns(job)).collect();
    let sets: Vec<StatefulSet> = sets.into_iter().filter(|set| owner.owns(set)).collect();
    let (optional, missing) = optional;
    let mut seen = observed(&jobs, &sets, &deployments, &[]);
    if !seen.is_settled() {
        // Only what is on its way has pods with something to say.
        let pods: Vec<Pod> = list(client, namespace, PLATFORM_LABEL, name).await?;
        seen = observed(&jobs, &sets, &deployments, &pods);
    }
    let observed = Observed { optional, missing, ..seen };
    Ok(Facts { settings, owner, secrets, to_generate, pools, observed })
}

async fn read_secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Values>, Error> {
    let secret: Option<Secret> = get(client, namespace, name).await?;
    Ok(secret.map(|secret| secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()))
}

/// Every pool that names the platform, the user's own included.
async fn pools(client: &Client, namespace: &str, platform: &str) -> Result<Vec<WorkerPool>, Error> {
    let api: Api<WorkerPool> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default()).await.map_err(|error| Error::of("cannot list workerpools", error))?;
    Ok(list.items.into_iter().filter(|pool| pool.spec.platform_ref.name == platform).collect())
}
