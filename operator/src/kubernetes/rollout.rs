//! Progress of Deployments, StatefulSets and Jobs, and why their pods do not run. Pure.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        batch::v1::Job,
        core::v1::{ContainerStatus, Pod},
    },
    jiff::Timestamp,
};

use crate::spec::component::Component;

/// State of a setup Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    Running {
        /// Why its pod does not run.
        trouble: Option<String>,
    },
    Succeeded,
    Failed {
        at: Timestamp,
        report: Report,
    },
}

/// Why a setup failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The component that failed, if the setup named one.
    pub component: Option<Component>,
    pub message: String,
}

/// Progress of a Deployment or StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollout {
    /// Desired pods.
    pub desired: i32,
    /// Existing pods.
    pub replicas: i32,
    /// Ready pods, of old templates too.
    pub ready: i32,
    /// Whether all pods are ready and of the newest template.
    pub complete: bool,
    /// Why pods do not run.
    pub trouble: Option<String>,
}

impl Rollout {
    /// Whether at least one pod is ready, or none is desired.
    pub const fn serves(&self) -> bool {
        self.ready > 0 || self.desired == 0
    }

    /// The rollout of a Deployment.
    pub fn of_deployment(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let status = deployment.status.clone().unwrap_or_default();
        let desired = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let (replicas, ready) = (status.replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
        let updated = status.updated_replicas.unwrap_or(0);
        let current = status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0);
        let refused = status
            .conditions
            .unwrap_or_default()
            .into_iter()
            .find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
        Self {
            desired,
            replicas,
            ready,
            complete: current && updated == desired && replicas == desired && ready == desired,
            trouble: refused.and_then(|condition| condition.message),
        }
    }

    /// The rollout of a StatefulSet.
    pub fn of_stateful_set(set: &StatefulSet) -> Self {
        let status = set.status.clone().unwrap_or_default();
        let desired = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let (replicas, ready) = (status.replicas, status.ready_replicas.unwrap_or(0));
        let current = status.observed_generation.unwrap_or(0) >= set.metadata.generation.unwrap_or(0);
        let newest = status.update_revision == status.current_revision || status.updated_replicas == Some(desired);
        Self { desired, replicas, ready, complete: current && newest && ready == desired, trouble: None }
    }

    /// Adds the reason why its pods do not run.
    pub fn with_pods(self, pods: &[Pod]) -> Self {
        Self { trouble: self.trouble.or_else(|| trouble(pods)), ..self }
    }
}

impl JobState {
    /// The state of a Job.
    pub fn of(job: &Job) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let met =
            |kind: &str| conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
        if met("Complete").is_some() || met("SuccessCriteriaMet").is_some() {
            return Self::Succeeded;
        }
        let Some(failed) = met("Failed") else {
            return Self::Running { trouble: None };
        };
        let at = failed.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let message = failed.message.clone().unwrap_or_else(|| "it failed without a message".into());
        Self::Failed { at, report: Report::read(&message) }
    }

    /// Adds the reason why its pods do not run.
    pub fn with_pods(self, pods: &[Pod]) -> Self {
        match self {
            Self::Running { .. } => Self::Running { trouble: trouble(pods) },
            Self::Succeeded => Self::Succeeded,
            Self::Failed { at, report } => {
                let message = pods.iter().flat_map(container_statuses).find_map(|container| {
                    let terminated = container.state.as_ref()?.terminated.as_ref()?;
                    let message = terminated.message.clone().filter(|message| !message.trim().is_empty());
                    Some(message.unwrap_or_else(|| {
                        format!("it ended with exit code {} without a message", terminated.exit_code)
                    }))
                });
                let pod_report = message.or_else(|| trouble(pods)).map(|message| Report::read(&message));
                Self::Failed { at, report: pod_report.unwrap_or(report) }
            }
        }
    }
}

impl Report {
    /// Parses a termination message: the last line that is a JSON object with `component` and
    /// `message`, or else the text itself.
    pub fn read(text: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct TerminationMessage {
            component: String,
            message: String,
        }
        match text.lines().rev().find_map(|line| serde_json::from_str::<TerminationMessage>(line.trim()).ok()) {
            Some(parsed) => {
                Self { component: Component::from_name(&parsed.component.replace('_', "-")), message: parsed.message }
            }
            None => Self { component: None, message: shortened(text.trim()) },
        }
    }
}

/// The first 400 characters of a text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why one of the pods does not run. The text is stable, so that a condition does not flap.
pub fn trouble(pods: &[Pod]) -> Option<String> {
    pods.iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .find_map(|pod| unscheduled(pod).or_else(|| container_statuses(pod).find_map(waiting)))
}

fn container_statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten())
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    Some(format!("no node takes the pod: {}", condition.message.as_deref().unwrap_or("no reason was given")))
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?.waiting.as_ref()?;
    let message = || state.message.as_deref().map(|message| format!(": {}", shortened(message))).unwrap_or_default();
    match state.reason.as_deref()? {
        // The kubelet alternates between these two, with different messages.
        "ErrImagePull" | "ImagePullBackOff" => Some(format!("image {} cannot be pulled", container.image)),
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let message =
                last.and_then(|last| last.message.as_deref()).map(|text| format!(": {}", Report::read(text).message));
            Some(format!(
                "container {} crashes repeatedly, last with exit code {}{}",
                container.name,
                last.map_or(0, |last| last.exit_code),
                message.unwrap_or_else(|| "; see its log".into()),
            ))
        }
        reason @ ("InvalidImageName"
        | "ErrImageNeverPull"
        | "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError") => Some(format!("{reason}{}", message())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "its callers pass literals of json!")]
    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).expect("a pod")
    }

    fn job(condition: &str) -> Job {
        let condition = json!({"type": condition, "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z", "message": "backoff limit"});
        serde_json::from_value(json!({"metadata": {"name": "j"}, "status": {"conditions": [condition]}}))
            .expect("a job")
    }

    #[test]
    fn failed_job_reports_the_termination_message() {
        let message = "noise\n{\"component\":\"object-store\",\"message\":\"no such bucket\"}\n";
        let pod = pod(
            json!({"containerStatuses": [{"name": "setup", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "message": message}}}]}),
        );
        let JobState::Failed { at, report } = JobState::of(&job("Failed")).with_pods(&[pod]) else {
            panic!("not failed")
        };
        assert_eq!(report, Report { component: Some(Component::ObjectStore), message: "no such bucket".into() });
        assert_eq!(at.as_second(), 1_767_323_045);
        let JobState::Failed { report, .. } = JobState::of(&job("Failed")).with_pods(&[]) else { panic!("not failed") };
        assert_eq!(report, Report { component: None, message: "backoff limit".into() });
        assert_eq!(JobState::of(&job("Complete")), JobState::Succeeded);
        assert_eq!(JobState::of(&Job::default()), JobState::Running { trouble: None });
    }

    #[test]
    fn image_pull_failure_has_a_stable_message() {
        let waiting = |reason: &str, message: &str| {
            trouble(&[pod(
                json!({"containerStatuses": [{"name": "api", "image": "nowhere/api:1", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": message}}}]}),
            )])
        };
        assert_eq!(waiting("ErrImagePull", "a"), Some("image nowhere/api:1 cannot be pulled".into()));
        assert_eq!(waiting("ErrImagePull", "a"), waiting("ImagePullBackOff", "back-off 20s"));
        assert_eq!(waiting("ContainerCreating", "a"), None);
        assert_eq!(
            waiting("CreateContainerConfigError", "secret x not found"),
            Some("CreateContainerConfigError: secret x not found".into())
        );
    }

    #[test]
    fn rollout_is_complete_with_all_new_pods_ready_and_no_old_one() {
        let deployment = |status: Value| -> Deployment {
            serde_json::from_value(json!({"metadata": {"generation": 2}, "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": status})).expect("a deployment")
        };
        let of = |status| Rollout::of_deployment(&deployment(status));
        assert!(of(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2})).complete);
        assert!(
            !of(json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2})).complete
        );
        assert!(
            !of(json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "readyReplicas": 3})).complete
        );
        let refused =
            of(json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}]}));
        assert_eq!(refused.trouble.as_deref(), Some("exceeded quota: q"));
        assert!(!refused.serves());
    }
}
