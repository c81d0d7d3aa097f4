//! Objects that a spec asks for and may stop asking for: what there is of them and is no longer wanted. Pure.

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{LimitRange, ResourceQuota},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::api::ApiResource;

use crate::resources::{http_route, pod_monitor, prometheus_rule, scaled_object};

/// Kinds that go with a platform's workloads.
pub fn platform_kinds() -> Vec<ApiResource> {
    let mut kinds =
        vec![autoscalers(), disruption_budgets(), ApiResource::erase::<Ingress>(&()), http_route::resource()];
    kinds.extend([pod_monitor::resource(), prometheus_rule::resource()]);
    kinds.extend(blocking_kinds());
    kinds
}

/// Kinds that may stand in the way of everything.
pub fn blocking_kinds() -> Vec<ApiResource> {
    vec![network_policies(), ApiResource::erase::<ResourceQuota>(&()), ApiResource::erase::<LimitRange>(&())]
}

/// The kind that decides on replicas.
pub fn autoscalers() -> ApiResource {
    ApiResource::erase::<HorizontalPodAutoscaler>(&())
}

/// Kinds that go with a pool's Deployment.
pub fn pool_kinds() -> Vec<ApiResource> {
    vec![autoscalers(), scaled_object::resource(), disruption_budgets()]
}

/// Kinds that a cluster may or may not know.
pub fn optional_kinds() -> Vec<ApiResource> {
    vec![http_route::resource(), scaled_object::resource(), pod_monitor::resource(), prometheus_rule::resource()]
}

/// Whether a kind is there to have a platform watched, and for nothing else.
pub fn is_monitoring(kind: &ApiResource) -> bool {
    [pod_monitor::resource(), prometheus_rule::resource()].contains(kind)
}

/// The kind that lets drains take one pod after the other.
pub fn disruption_budgets() -> ApiResource {
    ApiResource::erase::<PodDisruptionBudget>(&())
}

/// The kind that closes pods to connections.
pub fn network_policies() -> ApiResource {
    ApiResource::erase::<NetworkPolicy>(&())
}
