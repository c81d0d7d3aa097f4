//! The behavior of the `HorizontalPodAutoscaler` of a pool.
//!
//! Its metric is external: the desired number of pods, with an `AverageValue` of 1. By the
//! algorithm of Kubernetes
//! (<https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>) the autoscaler
//! rounds the metric up, and changes nothing while it is within 10 % of the current pods. KEDA
//! creates such an autoscaler from a `ScaledObject` and passes the behavior on.

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// The `averageValue` of the metric: one desired pod for each pod.
pub const AVERAGE_VALUE: &str = "1";

/// Returns the scaling behavior.
///
/// Scales up without stabilization, by 200 % or eight pods in 15 s, whichever is more: the metric
/// is the number of pods that the load needs, so small steps only delay. Scales down after a
/// stabilization window of seven minutes, by 50 % or two pods a minute, whichever is more, so that
/// returning load finds its pods. These values had the best results in `make simulate`.
pub fn behavior() -> HorizontalPodAutoscalerBehavior {
    let policy = |type_: &str, value, period_seconds| HPAScalingPolicy { type_: type_.into(), value, period_seconds };
    let rules = |window, policies| HPAScalingRules {
        stabilization_window_seconds: Some(window),
        select_policy: Some("Max".into()),
        policies: Some(policies),
        tolerance: None,
    };
    HorizontalPodAutoscalerBehavior {
        scale_up: Some(rules(0, vec![policy("Percent", 200, 15), policy("Pods", 8, 15)])),
        scale_down: Some(rules(420, vec![policy("Percent", 50, 60), policy("Pods", 2, 60)])),
    }
}
