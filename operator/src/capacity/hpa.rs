//! How a `HorizontalPodAutoscaler` is to follow the metric.
//!
//! The metric is the number of pods wanted, an external one, with an `AverageValue` of 1. The autoscaler then rounds up, and leaves the pods as they
//! are while the metric is within a tenth of them.

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// Pods wanted for each pod: the metric's `averageValue`.
pub const AVERAGE_VALUE: &str = "1";

/// Up at once, threefold or by eight pods in each round of 15 s, whichever is more: the metric says how many are needed, not merely that more are, so
/// there is no point in feeling the way. Down not before seven minutes have asked for fewer throughout, and then by half or two pods a minute, whichever is
/// more: load that comes back soon finds its pods. The figures are what `make simulate` was best with.
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
