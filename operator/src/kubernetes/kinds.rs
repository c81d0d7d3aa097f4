//! Kinds of objects that a spec may stop asking for, so that they are pruned. Pure.

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{LimitRange, ResourceQuota},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::api::ApiResource;

use crate::resources::{http_route, pod_monitor, prometheus_rule, scaled_object};

/// Kinds of objects that accompany the workloads of a platform.
pub fn platform_kinds() -> Vec<ApiResource> {
    let mut kinds =
        vec![autoscalers(), disruption_budgets(), ApiResource::erase::<Ingress>(&()), http_route::resource()];
    kinds.extend([pod_monitor::resource(), prometheus_rule::resource()]);
    kinds.extend(blocking_kinds());
    kinds
}

/// Kinds whose objects can block other objects or the traffic between pods.
pub fn blocking_kinds() -> Vec<ApiResource> {
    vec![network_policies(), ApiResource::erase::<ResourceQuota>(&()), ApiResource::erase::<LimitRange>(&())]
}

/// HorizontalPodAutoscaler.
pub fn autoscalers() -> ApiResource {
    ApiResource::erase::<HorizontalPodAutoscaler>(&())
}

/// Kinds of objects that accompany the Deployment of a pool.
pub fn pool_kinds() -> Vec<ApiResource> {
    vec![autoscalers(), scaled_object::resource(), disruption_budgets()]
}

/// Kinds that the operator works without.
pub fn optional_kinds() -> Vec<ApiResource> {
    vec![http_route::resource(), scaled_object::resource(), pod_monitor::resource(), prometheus_rule::resource()]
}

/// Whether a kind serves monitoring only.
pub fn is_monitoring(kind: &ApiResource) -> bool {
    [pod_monitor::resource(), prometheus_rule::resource()].contains(kind)
}

/// PodDisruptionBudget.
pub fn disruption_budgets() -> ApiResource {
    ApiResource::erase::<PodDisruptionBudget>(&())
}

/// NetworkPolicy.
pub fn network_policies() -> ApiResource {
    ApiResource::erase::<NetworkPolicy>(&())
}
