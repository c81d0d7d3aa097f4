//! Objects that a spec asks for and may stop asking for: what there is of them and is no longer wanted. Pure.

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler, networking::v1::NetworkPolicy, policy::v1::PodDisruptionBudget,
};
use kube::api::ApiResource;

use crate::resources::Manifest;

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
    vec![ApiResource::erase::<HorizontalPodAutoscaler>(&()), disruption_budgets(), network_policies()]
}

/// The kind that goes with a pool's pods.
pub fn disruption_budgets() -> ApiResource {
    ApiResource::erase::<PodDisruptionBudget>(&())
}

/// The kind that may stand in the way of everything.
pub fn network_policies() -> ApiResource {
    ApiResource::erase::<NetworkPolicy>(&())
}

/// Of what was `found`, everything of these kinds that is not `wanted`.
pub fn leftovers(found: &[Found], kinds: &[ApiResource], wanted: &[Manifest]) -> Vec<Found> {
    found
        .iter()
        .filter(|found| kinds.contains(&found.resource))
        .filter(|found| !wanted.iter().any(|w| w.resource == found.resource && w.name() == found.name))
        .cloned()
        .collect()
}
