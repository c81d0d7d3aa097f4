//! Reads everything that a platform's plan follows from.

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
    let mut secrets = Secrets::default();
    for secret in named(&settings) {
        let values = read_secret(client, &namespace, &secret).await?;
        secrets.0.insert(secret, values);
    }
    let mut to_generate = Vec::new();
    let wanted = generate(&settings, &mut rand::rng());
    for fresh in wanted {
        let values = read_secret(client, &namespace, &fresh.name).await?;
        if values.is_none() {
            secrets.0.insert(fresh.name.clone(), Some(fresh.values.clone()));
            to_generate.push(fresh);
        } else {
            secrets.0.insert(fresh.name, values);
        }
    }
    Ok(References { settings, owner, secrets, to_generate, pools: pools(client, &namespace, &name).await? })
}

/// Everything that the plan of `platform` follows from.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn facts(client: &Client, platform: &AnalyticsPlatform) -> Result<Facts, Error> {
    let References { settings, owner, secrets, to_generate, pools } = references(client, platform).await?;
    let (namespace, name) = (&settings.namespace, &settings.name);
    let kinds = around_workloads();
    let (jobs, sets, deployments, pods, optional) = futures::try_join!(
        list::<Job>(client, namespace, name),
        list::<StatefulSet>(client, namespace, name),
        list::<Deployment>(client, namespace, name),
        list::<Pod>(client, namespace, name),
        owned(client, &owner, &kinds),
    )?;
    // A label is anybody's to set: only what the platform owns is a set-up Job or a server of its own.
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| owner.owns(job)).collect();
    let sets: Vec<StatefulSet> = sets.into_iter().filter(|set| owner.owns(set)).collect();
    let (optional, missing) = optional;
    let observed = Observed { optional, missing, ..observed(&jobs, &sets, &deployments, &pods) };
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
