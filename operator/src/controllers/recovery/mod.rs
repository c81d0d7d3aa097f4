//! What is healed without anybody asking, and what workloads have healed, told as Events. The leader does it, for platforms that are not paused.
//!
//! A rule acts on evidence that points at one pod alone, seldom, and gives up when it does not help: whatever takes all pods of a workload along is no
//! pod's fault, and replacing them would only add to it.

mod pods;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, EvictParams, Preconditions},
    runtime::events::{Event, EventType},
};
use switchyard_contract::{HealthReport, RecoveryRecord};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    controllers::{context::Context, health::Healths, recovery::pods::Decision},
    crd::{AnalyticsPlatform, GROUP},
    kubernetes::cache::entry::{CachedObject, ObservedState},
    spec::{names::PLATFORM_LABEL, settings::Settings},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(15);
/// Platforms that are asked at once.
const AT_ONCE: usize = 8;
/// Looks in a row without an answer after which nothing is known.
const SILENT: u32 = 3;
/// What was healed before the operator looked for the first time is told when it is no older than this.
const NEWS: Duration = Duration::from_secs(300);

/// By platform or Deployment, by namespace and name.
type ByName<T> = HashMap<(String, String), T>;

/// What was seen and done so far.
#[derive(Default)]
struct Memory {
    /// The last recovery of a platform's workloads that was told.
    told: ByName<i64>,
    /// Looks in a row at which a platform did not answer.
    silent: ByName<u32>,
    /// When pods of a Deployment were replaced.
    replaced: ByName<Vec<Timestamp>>,
    /// Deployments that were given up, until they are whole again.
    given_up: HashSet<(String, String)>,
}

/// What is known of platforms while this instance leads; another one will know better.
struct Leading(Healths);

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.retain(|_, _| false);
    }
}

/// Looks after all platforms, for ever.
pub async fn run(context: Context) {
    let mut memory = Memory::default();
    let _leading = Leading(context.healths.clone());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let platforms = context.cache.platforms().state();
        let there: BTreeMap<(String, String), Arc<AnalyticsPlatform>> = platforms
            .into_iter()
            .filter(|platform| platform.metadata.deletion_timestamp.is_none())
            .map(|platform| ((platform.namespace().unwrap_or_default(), platform.name_any()), platform))
            .collect();
        let is_there = |namespace: &str, name: &str| there.contains_key(&(namespace.to_owned(), name.to_owned()));
        context.healths.retain(is_there);
        memory.told.retain(|(namespace, name), _| is_there(namespace, name));
        memory.silent.retain(|(namespace, name), _| is_there(namespace, name));
        let watched = |namespace: &str| there.keys().any(|(there, _)| there == namespace);
        memory.replaced.retain(|(namespace, _), _| watched(namespace));
        memory.given_up.retain(|(namespace, _)| watched(namespace));
        let said: Vec<_> = stream::iter(there.values())
            .map(|platform| ask(&context, platform))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (platform, health_report) in said {
            heard(&context, &mut memory, platform, health_report).await;
        }
        for platform in there.values() {
            replace(&context, &mut memory, platform).await;
        }
    }
}

/// Asks a platform's API how it does; nothing where it does not serve, or does not answer.
async fn ask<'a>(context: &Context, platform: &'a AnalyticsPlatform) -> (&'a AnalyticsPlatform, Option<HealthReport>) {
    let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
    let status = context.cache.platform_status(&namespace, &name);
    let serves = status.is_some_and(|status| status.url.is_some());
    let health_report = if serves { context.platform_client.health_report(&namespace, &name).await.ok() } else { None };
    (platform, health_report)
}

/// Keeps what was said, and tells what is new of it. What was not heard of a few times in a row is not known.
async fn heard(
    context: &Context,
    memory: &mut Memory,
    platform: &AnalyticsPlatform,
    health_report: Option<HealthReport>,
) {
    let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
    let silent = memory.silent.entry((namespace.clone(), name.clone())).or_default();
    *silent = if health_report.is_some() { 0 } else { silent.saturating_add(1) };
    if health_report.is_none() && *silent < SILENT {
        return;
    }
    let health = health_report.as_ref().map(|health_report| health_report.health.clone());
    if context.healths.set(&namespace, &name, health) {
        context.cache.enqueue_platform(&namespace, &name);
    }
    tell(context, memory, platform, &health_report.map(|health_report| health_report.recoveries).unwrap_or_default())
        .await;
}

/// Publishes what is new of that.
async fn tell(context: &Context, memory: &mut Memory, platform: &AnalyticsPlatform, recoveries: &[RecoveryRecord]) {
    let key = (platform.namespace().unwrap_or_default(), platform.name_any());
    let Some(last) = recoveries.iter().map(|recovered| recovered.id).max() else { return };
    let told = memory.told.insert(key, last);
    let is_new = |recovered: &&RecoveryRecord| match told {
        Some(told) => recovered.id > told,
        None => recovered
            .at
            .parse()
            .is_ok_and(|at: Timestamp| Timestamp::now().duration_since(at) < NEWS.try_into().unwrap_or_default()),
    };
    let events: Vec<Event> = recoveries
        .iter()
        .filter(is_new)
        .map(|recovered| {
            let (reason, note) = match recovered.action.as_str() {
                "job-quarantined" => ("JobQuarantined", format!("job {} is dead before it takes more workers down: {}; find out why before you replay it", recovered.subject, recovered.evidence)),
                "memory-drain" => ("WorkerDrained", format!("worker {} finished its jobs and began anew: {}; raise the pool's memory limit if this comes again", recovered.subject, recovered.evidence)),
                other => ("Recovered", format!("{other}: {} ({})", recovered.subject, recovered.evidence)),
            };
            warning(reason, note)
        })
        .collect();
    context.publish(platform, &events).await;
}

/// Replaces a pod that does not get ready though others of its workload are.
async fn replace(context: &Context, memory: &mut Memory, platform: &AnalyticsPlatform) {
    let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
    let settings = Settings::of(&namespace, &name, &platform.spec);
    if settings.paused || !settings.replace_pods {
        return;
    }
    // One list of pods serves all of its workloads.
    let now = Instant::now();
    for (deployment, seen, changed_at) in context.cache.labelled("Deployment", &namespace, (PLATFORM_LABEL, &name)) {
        let ObservedState::Deployment { rollout, .. } = &seen.state else { continue };
        let key = (namespace.clone(), deployment.clone());
        if rollout.complete {
            memory.given_up.remove(&key);
        }
        // Until it is whole again.
        if memory.given_up.contains(&key) || !is_ours(&seen) {
            continue;
        }
        // Without pods that are ready there is nothing to tell the sick from the well by.
        if rollout.complete || rollout.ready == 0 || changed_at.elapsed() < pods::SICK {
            continue;
        }
        let listed = context.reader.pods(&namespace, &name, now).await;
        let Ok(all) = listed else { continue };
        let of_deployment: Vec<&Pod> = all.iter().filter(|pod| pods::is_of(pod, &seen)).collect();
        let replaced = memory.replaced.entry(key.clone()).or_default();
        match pods::decide(&of_deployment, replaced, Timestamp::now()) {
            Decision::Leave => {}
            Decision::GiveUp => {
                memory.given_up.insert(key);
                let note = format!(
                    "pods of {deployment} do not get ready, and replacing {} of them within an hour did not help: see kubectl describe pod and their logs",
                    replaced.len()
                );
                tracing::warn!(namespace, name, note, "recovery given up");
                context.publish(platform, &[warning("RecoveryGivenUp", note)]).await;
            }
            Decision::Replace { pod, evidence } => {
                let evicted = evict(context, &namespace, pod).await;
                let pod = pod.name_any();
                match evicted {
                    Ok(()) => {
                        replaced.push(Timestamp::now());
                        context.metrics.recovered(&namespace, &name, "pod-replaced");
                        tracing::warn!(namespace, name, pod, evidence, "a pod is replaced");
                        let note = format!("pod {pod} is replaced: {evidence}");
                        context.publish(platform, &[warning("PodReplaced", note)]).await;
                    }
                    Err(error) => tracing::warn!(namespace, name, pod, %error, "a pod could not be replaced"),
                }
            }
        }
    }
}

/// Whether a Deployment is a platform's or a pool's: labels are anybody's to set.
fn is_ours(deployment: &CachedObject) -> bool {
    let mut owners = deployment.meta.owner_references.iter().flatten();
    owners.any(|owner| {
        let is_custom =
            matches!(&*owner.kind, "AnalyticsPlatform" | "WorkerPool") && owner.api_version.starts_with(GROUP);
        owner.controller == Some(true) && is_custom
    })
}

/// Evicts this very pod, so that disruption budgets and the grace period hold.
async fn evict(context: &Context, namespace: &str, pod: &Pod) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.reader.client.clone(), namespace);
    let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
    let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let params = EvictParams { delete_options: Some(options), ..EvictParams::default() };
    api.evict(&pod.name_any(), &params).await.map(drop)
}

fn warning(reason: &str, note: String) -> Event {
    let note = note.chars().take(1000).collect();
    Event {
        type_: EventType::Warning,
        reason: reason.into(),
        note: Some(note),
        action: "Recover".into(),
        secondary: None,
    }
}
