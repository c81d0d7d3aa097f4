//! HorizontalPodAutoscaler of the API or of a pool.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::autoscaling::v2::{
        ContainerResourceMetricSource, CrossVersionObjectReference, ExternalMetricSource, HPAScalingPolicy,
        HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
        MetricIdentifier, MetricSpec, MetricTarget,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};

use crate::{
    capacity::hpa,
    spec::{defaults::Targets, names, replicas::ScalingBounds},
};

/// Scales the Deployment `pool` within `bounds`, by the external metric
/// [`names::DESIRED_REPLICAS_METRIC`].
pub fn pool_autoscaler(metadata: ObjectMeta, pool: &str, bounds: ScalingBounds) -> HorizontalPodAutoscaler {
    let desired = MetricSpec {
        type_: "External".into(),
        external: Some(ExternalMetricSource {
            metric: MetricIdentifier {
                name: names::DESIRED_REPLICAS_METRIC.into(),
                selector: Some(LabelSelector {
                    match_labels: Some(BTreeMap::from([(
                        names::DESIRED_REPLICAS_POOL_LABEL.to_owned(),
                        pool.to_owned(),
                    )])),
                    match_expressions: None,
                }),
            },
            target: MetricTarget {
                type_: "AverageValue".into(),
                average_value: Some(Quantity(hpa::AVERAGE_VALUE.into())),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    };
    autoscaler(metadata, bounds, vec![desired], hpa::behavior())
}

/// Scales the Deployment of the same name within `bounds`, by the CPU and memory
/// utilization of its container `container`.
///
/// Sidecars are not measured: a container without requests would make the metric unavailable.
pub fn horizontal_pod_autoscaler(
    metadata: ObjectMeta,
    container: &str,
    bounds: ScalingBounds,
    targets: Targets,
) -> HorizontalPodAutoscaler {
    let metric = |name: &str, percent: i32| MetricSpec {
        type_: "ContainerResource".into(),
        container_resource: Some(ContainerResourceMetricSource {
            container: container.into(),
            name: name.into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    };
    // Scales up at once, the Kubernetes default. Scales down one pod a minute, after five minutes
    // of lower demand.
    let behavior = HorizontalPodAutoscalerBehavior {
        scale_down: Some(HPAScalingRules {
            stabilization_window_seconds: Some(300),
            select_policy: Some("Max".into()),
            policies: Some(vec![HPAScalingPolicy { type_: "Pods".into(), value: 1, period_seconds: 60 }]),
            tolerance: None,
        }),
        scale_up: None,
    };
    autoscaler(metadata, bounds, vec![metric("cpu", targets.cpu), metric("memory", targets.memory)], behavior)
}

fn autoscaler(
    metadata: ObjectMeta,
    bounds: ScalingBounds,
    metrics: Vec<MetricSpec>,
    behavior: HorizontalPodAutoscalerBehavior,
) -> HorizontalPodAutoscaler {
    HorizontalPodAutoscaler {
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".into()),
                kind: "Deployment".into(),
                name: metadata.name.clone().unwrap_or_default(),
            },
            min_replicas: Some(bounds.min()),
            max_replicas: bounds.max(),
            metrics: Some(metrics),
            behavior: Some(behavior),
        }),
        metadata,
        status: None,
    }
}
