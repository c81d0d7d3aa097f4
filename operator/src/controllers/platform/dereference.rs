//! Reads everything that a platform's plan follows from.

use std::time::Duration;

use futures::future::try_join_all;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::{
    controllers::{
        health::Healths,
        platform::{generated_secrets::generate, input::PlatformInput, observed::Observed},
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

/// Pods of what has moved within this time are not asked what keeps them.
pub const MOVING: Duration = Duration::from_secs(3);

/// What a platform's workloads depend on, without what is running.
pub struct References {
    pub settings: Settings,
    pub owner: Owner,
    /// Secrets that there are, with those that are to be generated.
    pub secrets: Secrets,
    /// Secrets that do not exist yet.
    pub to_generate: Vec<crate::controllers::platform::generated_secrets::Generated>,
    pub pools: Vec<WorkerPool>,
}

/// Reads the Secrets and the pools of `platform`.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn references(reader: &ClusterReader, platform: &AnalyticsPlatform) -> Result<References, Error> {
    let name = platform.name_any();
    let namespace = platform.namespace().ok_or_else(|| Error::Unstored(name.clone()))?;
    let settings = Settings::of(&namespace, &name, &platform.spec);
    let owner = Owner::of(platform, &name).ok_or_else(|| Error::Unstored(name.clone()))?;
    let desired = generate(&settings, &mut rand::rng());
    let names: Vec<String> =
        named(&settings).into_iter().chain(desired.iter().map(|fresh| fresh.name.clone())).collect();
    let values = try_join_all(names.iter().map(|secret| reader.secret(&namespace, secret))).await?;
    let mut secrets = Secrets(names.into_iter().zip(values).collect());
    let to_generate: Vec<_> = desired.into_iter().filter(|fresh| secrets.get(&fresh.name).is_none()).collect();
    for fresh in &to_generate {
        secrets.0.insert(fresh.name.clone(), Some(fresh.values.clone()));
    }
    let pools = reader.cache.pools_of(&namespace, &name);
    Ok(References { settings, owner, secrets, to_generate, pools })
}

/// Everything that the plan of `platform` follows from.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn dereference(
    reader: &ClusterReader,
    healths: &Healths,
    platform: &AnalyticsPlatform,
) -> Result<PlatformInput, Error> {
    reader.cache.check_watches()?;
    let References { settings, owner, secrets, to_generate, pools } = references(reader, platform).await?;
    let (mut observed, ask) = observed(reader, &owner);
    if let Some(since) = ask {
        observed = observed.with_pods(&reader.pods(&settings.namespace, &settings.name, since).await?);
    }
    observed.health = healths.of(&settings.namespace, &settings.name);
    Ok(PlatformInput { settings, owner, secrets, to_generate, pools, observed })
}

/// What there is of a platform, and, if some of it stands still and its pods may tell why, since when.
fn observed(reader: &ClusterReader, owner: &Owner) -> (Observed, Option<Instant>) {
    let mut found = Observed {
        optional: reader.cache.owned(owner, &platform_kinds()),
        missing: reader.cache.missing_kinds(),
        ..Observed::default()
    };
    let mut ask = None;
    let label = (PLATFORM_LABEL, owner.platform.as_str());
    for kind in ["Job", "StatefulSet", "Deployment"] {
        for (name, seen, changed_at) in reader.cache.labelled(kind, &owner.namespace, label) {
            let stands_still = changed_at.elapsed() >= MOVING;
            // A label is anybody's to set: only what the platform owns is a setup Job or a server of its own. A pool's Deployment is the pool's.
            match &seen.state {
                ObservedState::Job(job) if owner.is_of(&seen.meta) => {
                    let asks = match job {
                        JobState::Succeeded => false,
                        JobState::Running { .. } => stands_still,
                        JobState::Failed { .. } => true,
                    };
                    ask = ask.max(asks.then_some(changed_at));
                    found.jobs.insert(name, job.clone());
                }
                ObservedState::StatefulSet(rollout) if owner.is_of(&seen.meta) => {
                    ask = ask.max((stands_still && !rollout.complete).then_some(changed_at));
                    let component = seen.label(COMPONENT_LABEL).and_then(Component::from_name);
                    found.servers.extend(component.map(|component| (component, rollout.clone())));
                }
                ObservedState::Deployment { rollout, .. } => {
                    ask = ask.max((stands_still && !rollout.complete).then_some(changed_at));
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
    (found, ask)
}
