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

/// Lets the Deployment of the pool `pool`, which has its name, have the pods that the metric [`names::DESIRED_REPLICAS_METRIC`] says, within `bounds`.
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

/// Lets a Deployment of the same name follow the use of CPU and memory of its container `container` within `bounds`. Other containers,
/// such as a mesh's, are not counted: one without requests would keep the whole pod from being measured.
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
    // Up at once, as Kubernetes does by default; down a pod a minute, and not before five minutes have asked for fewer throughout.
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
