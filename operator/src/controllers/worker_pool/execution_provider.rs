//! Whether the models of a GPU pool run on GPUs, as its pods report. Pure.

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use crate::{
    controllers::condition::{Condition, condition},
    crd::conditions::{ConditionType, Reason},
};

/// Name of the init container that reports it.
pub const PROVIDER_CHECK: &str = "provider";

/// The reports of a pool's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionProvider {
    /// Number of pods with a report.
    pub pods: usize,
    /// Those that run on the processor although they request a GPU.
    pub without: usize,
    /// Why the first of those runs on the processor.
    pub reason: Option<String>,
}

/// The report of one pod, as `switchyard-ai provider` writes it.
#[derive(Debug, Deserialize)]
struct PodReport {
    reason: Option<String>,
}

impl ExecutionProvider {
    /// The reports of `pods`; none before the first.
    pub fn of(pods: &[Pod]) -> Option<Self> {
        let reports: Vec<PodReport> = pods.iter().filter_map(pod_report).collect();
        let reasons = || reports.iter().filter_map(|report| report.reason.as_ref());
        (!reports.is_empty()).then(|| Self {
            pods: reports.len(),
            without: reasons().count(),
            reason: reasons().next().cloned(),
        })
    }

    /// The condition `Accelerated`.
    pub fn condition(&self) -> Condition {
        match &self.reason {
            None => condition(
                ConditionType::Accelerated,
                true,
                Reason::OnGpu,
                format!("The models of {} pods run on GPUs.", self.pods),
            ),
            Some(reason) => condition(
                ConditionType::Accelerated,
                false,
                Reason::OnProcessor,
                format!(
                    "The models of {} of {} pods run on the processor: {reason}. Check the node's driver and \
                     device plug-in, and that the operator has an image for GPUs.",
                    self.without, self.pods
                ),
            ),
        }
    }
}

fn pod_report(pod: &Pod) -> Option<PodReport> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let check = statuses.iter().find(|status| status.name == PROVIDER_CHECK)?;
    let ended = check.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code == 0)?;
    serde_json::from_str(ended.message.as_ref()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controllers::condition::ConditionStatus;

    fn pod(message: &str, code: i32) -> Pod {
        let state = json!({"terminated": {"exitCode": code, "message": message}});
        let status =
            json!({"name": "provider", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state});
        serde_json::from_value(json!({"status": {"initContainerStatuses": [status]}})).unwrap()
    }

    #[test]
    fn pods_without_a_gpu_are_counted_with_the_first_reason() {
        let on = r#"{"wanted":"cuda","on":"cuda","reason":null}"#;
        let off = r#"{"wanted":"cuda","on":"cpu","reason":"no driver"}"#;
        assert_eq!(ExecutionProvider::of(&[]), None);
        assert_eq!(ExecutionProvider::of(&[pod("trouble", 0), pod(off, 1)]), None, "neither is a report");
        let all = ExecutionProvider::of(&[pod(on, 0)]).unwrap();
        assert_eq!((all.condition().status, all.without), (ConditionStatus::True, 0));
        let some = ExecutionProvider::of(&[pod(on, 0), pod(off, 0)]).unwrap();
        assert_eq!((some.pods, some.without), (2, 1));
        let condition = some.condition();
        assert!(
            condition.status == ConditionStatus::False
                && condition.message.contains("1 of 2 pods run on the processor: no driver.")
        );
    }
}
