//! Decides which pod to replace, if any. Pure.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    jiff::{SignedDuration, Timestamp},
};

use crate::{
    kubernetes::cache::entry::CachedObject,
    spec::names::{COMPONENT_LABEL, POOL_LABEL},
};

/// A pod that runs this long without being ready, while others of its workload are ready, is
/// unready for too long.
pub const UNREADY_LIMIT: Duration = Duration::from_mins(5);
/// Minimum time between two replacements in one workload.
const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(600);
/// Recovery of a workload is given up after this many replacements within [`WINDOW`].
const MAX_REPLACEMENTS: usize = 3;
/// Older replacements do not count.
const WINDOW: SignedDuration = SignedDuration::from_secs(3600);

/// What to do about the pods of one workload.
#[derive(Debug, PartialEq)]
pub enum Decision<'a> {
    /// Nothing.
    Leave,
    /// Replace this pod.
    Replace {
        pod: &'a Pod,
        /// For log and Event.
        evidence: String,
    },
    /// Stop, since replacing does not help.
    GiveUp,
}

/// Whether `pod` belongs to `deployment` by their labels, and a ReplicaSet recreates it.
pub fn is_of(pod: &Pod, deployment: &CachedObject) -> bool {
    let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.kind == "ReplicaSet")
        && [COMPONENT_LABEL, POOL_LABEL].into_iter().all(|key| label(key) == deployment.label(key))
}

/// Decides about the pods of one workload. `replaced` are the times of earlier replacements; those
/// older than an hour are removed.
pub fn decide<'a>(pods: &[&'a Pod], replaced: &mut Vec<Timestamp>, now: Timestamp) -> Decision<'a> {
    replaced.retain(|at| now.duration_since(*at) < WINDOW);
    let unready =
        pods.iter().filter_map(|pod| Some((unready_seconds(pod, now)?, *pod))).max_by_key(|(seconds, _)| *seconds);
    let Some((seconds, pod)) = unready else { return Decision::Leave };
    // Only pods of the same template: a template that never becomes ready is not the pod's fault.
    let ready = pods.iter().filter(|other| is_ready(other) && template(other) == template(pod)).count();
    if ready == 0 {
        return Decision::Leave;
    }
    if replaced.len() >= MAX_REPLACEMENTS {
        return Decision::GiveUp;
    }
    if replaced.iter().any(|at| now.duration_since(*at) < MIN_INTERVAL) {
        return Decision::Leave;
    }
    let evidence = format!("it has run for {seconds} s without being ready, while {ready} of its workload are");
    Decision::Replace { pod, evidence }
}

fn template(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get("pod-template-hash").map(String::as_str)
}

fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some_and(|(status, _)| status == "True")
}

fn ready_condition(pod: &Pod) -> Option<(&str, Timestamp)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((&ready.status, ready.last_transition_time.as_ref()?.0))
}

/// Seconds that a pod with all containers running has not been ready; none below the limit. The
/// kubelet restarts containers that do not run, with its own backoff.
fn unready_seconds(pod: &Pod, now: Timestamp) -> Option<i64> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (status, since) = ready_condition(pod)?;
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let started = containers.iter().map(running_since).collect::<Option<Vec<_>>>()?.into_iter().max()?;
    let seconds = now.duration_since(since.max(started)).as_secs();
    (status == "False" && seconds >= UNREADY_LIMIT.as_secs().cast_signed()).then_some(seconds)
}

fn running_since(container: &ContainerStatus) -> Option<Timestamp> {
    Some(container.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn ago(seconds: i64) -> String {
        Timestamp::from_second(NOW - seconds).unwrap().to_string()
    }

    /// A pod that has been ready, or not, for `since` seconds and whose container started `started`
    /// seconds ago.
    fn pod(name: &str, ready: bool, since: i64, started: i64) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": ago(since)}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": ready, "restartCount": 0,
                    "state": {"running": {"startedAt": ago(started)}}}],
            }
        }))
        .unwrap()
    }

    fn named<'a>(decision: &Decision<'a>) -> Option<&'a str> {
        match decision {
            Decision::Replace { pod, .. } => pod.metadata.name.as_deref(),
            _ => None,
        }
    }

    #[test]
    fn pod_unready_for_the_longest_time_is_replaced() {
        let (well, sick, sicker) = (pod("w", true, 900, 900), pod("s", false, 300, 900), pod("t", false, 400, 900));
        let decision = decide(&[&well, &sick, &sicker], &mut Vec::new(), now());
        assert_eq!(named(&decision), Some("t"));
        let Decision::Replace { evidence, .. } = decision else { panic!("not replaced") };
        assert_eq!(evidence, "it has run for 400 s without being ready, while 1 of its workload are");
    }

    #[test]
    fn no_pod_is_replaced_without_a_ready_one_or_before_the_limit() {
        let sick = pod("s", false, 900, 900);
        assert_eq!(decide(&[&sick], &mut Vec::new(), now()), Decision::Leave);
        let well = pod("w", true, 900, 900);
        for young in [pod("y", false, 299, 900), pod("y", false, 900, 299)] {
            assert_eq!(decide(&[&well, &young], &mut Vec::new(), now()), Decision::Leave);
        }
        // A terminating pod, and one whose container the kubelet is starting.
        let mut going = pod("g", false, 900, 900);
        going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
        let mut starting = pod("k", false, 900, 900);
        starting.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].state = None;
        assert_eq!(decide(&[&well, &going, &starting], &mut Vec::new(), now()), Decision::Leave);
    }

    #[test]
    fn pods_of_an_unready_rollout_are_not_replaced() {
        let (well, mut sick) = (pod("w", true, 900, 900), pod("s", false, 900, 900));
        sick.metadata.labels = Some([("pod-template-hash".to_owned(), "new".to_owned())].into());
        assert_eq!(decide(&[&well, &sick], &mut Vec::new(), now()), Decision::Leave);
    }

    #[test]
    fn replacements_are_limited_to_one_in_ten_minutes_and_three_an_hour() {
        let (well, sick) = (pod("w", true, 900, 900), pod("s", false, 900, 900));
        let pods = [&well, &sick];
        let at = |minutes: i64| Timestamp::from_second(NOW - minutes * 60).unwrap();
        assert_eq!(decide(&pods, &mut vec![at(9)], now()), Decision::Leave);
        assert_eq!(named(&decide(&pods, &mut vec![at(10)], now())), Some("s"));
        let mut three = vec![at(50), at(30), at(15)];
        assert_eq!(decide(&pods, &mut three, now()), Decision::GiveUp);
        let mut old = vec![at(61), at(30), at(15)];
        assert_eq!(named(&decide(&pods, &mut old, now())), Some("s"));
        assert_eq!(old.len(), 2);
    }
}
