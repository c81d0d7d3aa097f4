//! Replaces pods that do not become ready while others of their workload are ready.

use std::collections::{HashMap, HashSet};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, EvictParams, Preconditions},
};
use tokio::time::Instant;

use crate::{
    controllers::{
        context::Context,
        recovery::{
            event::warning,
            pods::{self, Decision},
        },
    },
    crd::{AnalyticsPlatform, GROUP, conditions::EventReason},
    kubernetes::cache::entry::{CachedObject, ObservedState},
    spec::{names::PLATFORM_LABEL, settings::Settings},
    telemetry::metrics::POD_REPLACED,
};

/// The replacements so far.
#[derive(Default)]
pub(super) struct Replacements {
    /// When pods of a Deployment were replaced, by namespace and name.
    replaced: HashMap<(String, String), Vec<Timestamp>>,
    /// Deployments whose recovery was given up, until all of their pods are ready again.
    given_up: HashSet<(String, String)>,
}

impl Replacements {
    /// Forgets the Deployments of namespaces without platforms.
    pub(super) fn retain(&mut self, has_platform: impl Fn(&str) -> bool) {
        self.replaced.retain(|(namespace, _), _| has_platform(namespace));
        self.given_up.retain(|(namespace, _)| has_platform(namespace));
    }

    /// Replaces at most one pod of each workload of `platform`.
    pub(super) async fn replace(&mut self, context: &Context, platform: &AnalyticsPlatform) {
        let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
        let settings = Settings::of(&namespace, &name, &platform.spec);
        if settings.paused || !settings.replace_pods {
            return;
        }
        // One list of pods serves all workloads of the platform.
        let now = Instant::now();
        for (deployment, seen, changed_at) in context.cache.labelled("Deployment", &namespace, (PLATFORM_LABEL, &name))
        {
            let ObservedState::Deployment { rollout, .. } = &seen.state else { continue };
            let key = (namespace.clone(), deployment.clone());
            if rollout.complete {
                self.given_up.remove(&key);
            }
            if self.given_up.contains(&key) || !is_ours(&seen) {
                continue;
            }
            // Without a ready pod there is no evidence that the fault is a single pod's.
            if rollout.complete || rollout.ready == 0 || changed_at.elapsed() < pods::UNREADY_LIMIT {
                continue;
            }
            let listed = context.reader.pods(&namespace, &name, now).await;
            let Ok(all) = listed else { continue };
            let of_deployment: Vec<&Pod> = all.iter().filter(|pod| pods::is_of(pod, &seen)).collect();
            let replaced = self.replaced.entry(key.clone()).or_default();
            match pods::decide(&of_deployment, replaced, Timestamp::now()) {
                Decision::Leave => {}
                Decision::GiveUp => {
                    self.given_up.insert(key);
                    let note = format!(
                        "pods of {deployment} do not become ready, and replacing {} of them within an hour did not \
                         help: see kubectl describe pod and their logs",
                        replaced.len()
                    );
                    tracing::warn!(namespace, name, note, "gave up recovery");
                    context.publish(platform, &[warning(EventReason::RecoveryGivenUp, note)]).await;
                }
                Decision::Replace { pod, evidence } => {
                    let evicted = evict(context, &namespace, pod).await;
                    let pod = pod.name_any();
                    match evicted {
                        Ok(()) => {
                            replaced.push(Timestamp::now());
                            context.metrics.recovered(&namespace, &name, POD_REPLACED);
                            tracing::warn!(namespace, name, pod, evidence, "replaced pod");
                            let note = format!("pod {pod} is replaced: {evidence}");
                            context.publish(platform, &[warning(EventReason::PodReplaced, note)]).await;
                        }
                        Err(error) => tracing::warn!(namespace, name, pod, %error, "could not replace pod"),
                    }
                }
            }
        }
    }
}

/// Whether a platform or a pool controls the Deployment. Labels are no evidence: any user may set
/// them.
fn is_ours(deployment: &CachedObject) -> bool {
    let mut owners = deployment.meta.owner_references.iter().flatten();
    owners.any(|owner| {
        let is_custom =
            matches!(&*owner.kind, "AnalyticsPlatform" | "WorkerPool") && owner.api_version.starts_with(GROUP);
        owner.controller == Some(true) && is_custom
    })
}

/// Evicts the pod with this UID. Unlike a deletion, an eviction respects disruption budgets.
async fn evict(context: &Context, namespace: &str, pod: &Pod) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.reader.client.clone(), namespace);
    let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
    let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let params = EvictParams { delete_options: Some(options), ..EvictParams::default() };
    api.evict(&pod.name_any(), &params).await.map(drop)
}
