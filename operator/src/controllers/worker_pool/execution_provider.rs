//! Where the models of a GPU pool run, as its pods say. Pure.

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use crate::controllers::condition::{Condition, condition};

/// The container that says so.
pub const PROVIDER_CHECK: &str = "provider";

/// What the pods of a pool said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionProvider {
    /// Pods that said something.
    pub pods: usize,
    /// Those that run on the processor although a GPU was wanted, and why the first of them does.
    pub without: usize,
    pub reason: Option<String>,
}

/// What one pod says, as `switchyard-ai provider` prints it.
#[derive(Debug, Deserialize)]
struct Said {
    reason: Option<String>,
}

impl ExecutionProvider {
    /// What `pods` said; none where no one has yet.
    pub fn of(pods: &[Pod]) -> Option<Self> {
        let said: Vec<Said> = pods.iter().filter_map(said).collect();
        let reasons = || said.iter().filter_map(|said| said.reason.as_ref());
        (!said.is_empty()).then(|| Self {
            pods: said.len(),
            without: reasons().count(),
            reason: reasons().next().cloned(),
        })
    }

    /// The condition that tells of it.
    pub fn statement(&self) -> Condition {
        match &self.reason {
            None => condition("Accelerated", true, "OnGpu", format!("The models of {} pods run on GPUs.", self.pods)),
            Some(reason) => condition(
                "Accelerated",
                false,
                "OnProcessor",
                format!(
                    "The models of {} of {} pods run on the processor: {reason}. Check the node's driver and device plug-in, and that the operator has an image for GPUs.",
                    self.without, self.pods
                ),
            ),
        }
    }
}

fn said(pod: &Pod) -> Option<Said> {
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
        assert_eq!(ExecutionProvider::of(&[pod("trouble", 0), pod(off, 1)]), None, "neither says where it runs");
        let all = ExecutionProvider::of(&[pod(on, 0)]).unwrap();
        assert_eq!((all.statement().status, all.without), (ConditionStatus::True, 0));
        let some = ExecutionProvider::of(&[pod(on, 0), pod(off, 0)]).unwrap();
        assert_eq!((some.pods, some.without), (2, 1));
        let statement = some.statement();
        assert!(
            statement.status == ConditionStatus::False
                && statement.message.contains("1 of 2 pods run on the processor: no driver.")
        );
    }
}
