//! Reads the input of a platform's plan from the watch cache and the API server.

use std::time::Duration;

use futures::future::try_join_all;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::{
    controllers::{
        health::Healths,
        platform::{
            generated_secrets::{GeneratedSecret, generate},
            input::PlatformInput,
            observed::Observed,
        },
    },
    crd::{AnalyticsPlatform, WorkerPool},
    kubernetes::{
        cache::entry::ObservedState, error::Error, kinds::platform_kinds, reader::ClusterReader, rollout::JobState,
    },
    resources::owner::Owner,
    spec::{
        component::Component,
        names::{COMPONENT_LABEL, PLATFORM_LABEL, POOL_LABEL},
        secrets::{Secrets, named},
        settings::Settings,
    },
};

/// While an object changed less than this long ago, its pods are not listed for error messages.
pub const SETTLE_TIME: Duration = Duration::from_secs(3);

/// The objects that a platform's spec refers to.
pub struct References {
    /// The spec with defaults.
    pub settings: Settings,
    /// The platform as an owner.
    pub owner: Owner,
    /// Existing Secrets, and those in `to_generate`.
    pub secrets: Secrets,
    /// Secrets to create, with generated values.
    pub to_generate: Vec<GeneratedSecret>,
    /// All pools of the platform.
    pub pools: Vec<WorkerPool>,
}

/// Reads the Secrets and the pools of `platform`.
///
/// # Errors
/// If the API server does not answer or refuses.
pub async fn references(reader: &ClusterReader, platform: &AnalyticsPlatform) -> Result<References, Error> {
    let name = platform.name_any();
    let namespace = platform.namespace().ok_or_else(|| Error::Unstored(name.clone()))?;
    let settings = Settings::of(&namespace, &name, &platform.spec);
    let owner = Owner::of(platform, &name).ok_or_else(|| Error::Unstored(name.clone()))?;
    let desired = generate(&settings, &mut rand::rng());
    let names: Vec<String> =
        named(&settings).into_iter().chain(desired.iter().map(|secret| secret.name.clone())).collect();
    let values = try_join_all(names.iter().map(|secret| reader.secret(&namespace, secret))).await?;
    let mut secrets = Secrets(names.into_iter().zip(values).collect());
    let to_generate: Vec<_> = desired.into_iter().filter(|secret| secrets.get(&secret.name).is_none()).collect();
    for secret in &to_generate {
        secrets.0.insert(secret.name.clone(), Some(secret.values.clone()));
    }
    let pools = reader.cache.pools_of(&namespace, &name);
    Ok(References { settings, owner, secrets, to_generate, pools })
}

/// Reads the input of the plan of `platform`.
///
/// # Errors
/// If the API server does not answer or refuses.
pub async fn dereference(
    reader: &ClusterReader,
    healths: &Healths,
    platform: &AnalyticsPlatform,
) -> Result<PlatformInput, Error> {
    reader.cache.check_watches()?;
    let References { settings, owner, secrets, to_generate, pools } = references(reader, platform).await?;
    let (mut observed, list_pods_since) = observed(reader, &owner);
    if let Some(since) = list_pods_since {
        observed = observed.with_pods(&reader.pods(&settings.namespace, &settings.name, since).await?);
    }
    observed.health = healths.of(&settings.namespace, &settings.name);
    Ok(PlatformInput { settings, owner, secrets, to_generate, pools, observed })
}

/// The observed state of a platform. If something makes no progress, also when it last changed: its
/// pods may have the cause, and a list of them must be no older than that.
fn observed(reader: &ClusterReader, owner: &Owner) -> (Observed, Option<Instant>) {
    let mut found = Observed {
        optional: reader.cache.owned(owner, &platform_kinds()),
        missing: reader.cache.missing_kinds(),
        ..Observed::default()
    };
    let mut list_pods_since = None;
    let label = (PLATFORM_LABEL, owner.platform.as_str());
    for kind in ["Job", "StatefulSet", "Deployment"] {
        for (name, seen, changed_at) in reader.cache.labelled(kind, &owner.namespace, label) {
            let is_settled = changed_at.elapsed() >= SETTLE_TIME;
            // Any user may set a label, so Jobs and StatefulSets must be owned by the platform. The
            // Deployment of a pool is owned by the pool.
            match &seen.state {
                ObservedState::Job(job) if owner.is_of(&seen.meta) => {
                    let needs_pods = match job {
                        JobState::Succeeded => false,
                        JobState::Running { .. } => is_settled,
                        JobState::Failed { .. } => true,
                    };
                    list_pods_since = list_pods_since.max(needs_pods.then_some(changed_at));
                    found.jobs.insert(name, job.clone());
                }
                ObservedState::StatefulSet(rollout) if owner.is_of(&seen.meta) => {
                    list_pods_since = list_pods_since.max((is_settled && !rollout.complete).then_some(changed_at));
                    let component = seen.label(COMPONENT_LABEL).and_then(Component::from_name);
                    found.servers.extend(component.map(|component| (component, rollout.clone())));
                }
                ObservedState::Deployment { rollout, .. } => {
                    list_pods_since = list_pods_since.max((is_settled && !rollout.complete).then_some(changed_at));
                    if let Some(pool) = seen.label(POOL_LABEL) {
                        found.pools.insert(pool.to_owned(), rollout.clone());
                    } else if seen.label(COMPONENT_LABEL) == Some("api") {
                        found.api = Some(rollout.clone());
                    }
                }
                _ => {}
            }
        }
    }
    (found, list_pods_since)
}
