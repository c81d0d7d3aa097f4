//! Objects that a spec asks for and may stop asking for: what there is of them and is no longer wanted. Pure.

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{LimitRange, ResourceQuota},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::api::ApiResource;

use crate::resources::{Manifest, http_route, pod_monitor, prometheus_rule, scaled_object};

/// An object that there is, of the owner that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub resource: ApiResource,
    pub name: String,
    /// It is deleted under this identity alone, so that what somebody else puts in its place meanwhile stays.
    pub uid: String,
}

/// Kinds that go with a platform's workloads.
pub fn around_workloads() -> Vec<ApiResource> {
    let mut kinds =
        vec![autoscalers(), disruption_budgets(), ApiResource::erase::<Ingress>(&()), http_route::resource()];
    kinds.extend([pod_monitor::resource(), prometheus_rule::resource()]);
    kinds.extend(in_the_way());
    kinds
}

/// Kinds that may stand in the way of everything.
pub fn in_the_way() -> Vec<ApiResource> {
    vec![network_policies(), ApiResource::erase::<ResourceQuota>(&()), ApiResource::erase::<LimitRange>(&())]
}

/// The kind that decides on replicas.
pub fn autoscalers() -> ApiResource {
    ApiResource::erase::<HorizontalPodAutoscaler>(&())
}

/// Kinds that go with a pool's Deployment.
pub fn around_a_pool() -> Vec<ApiResource> {
    vec![autoscalers(), scaled_object::resource(), disruption_budgets()]
}

/// Kinds that a cluster may or may not know.
pub fn may_be_missing() -> Vec<ApiResource> {
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

/// Of what was `found`, everything of these kinds that is not `wanted`. What belongs to a `missing` kind stays: it is not asked for only because nobody
/// knows the kind at the moment.
pub fn leftovers(found: &[Found], kinds: &[ApiResource], missing: &[ApiResource], wanted: &[Manifest]) -> Vec<Found> {
    found
        .iter()
        .filter(|found| !missing.contains(&found.resource))
        .filter(|found| kinds.contains(&found.resource))
        .filter(|found| !wanted.iter().any(|w| w.resource == found.resource && w.name() == found.name))
        .cloned()
        .collect()
}
