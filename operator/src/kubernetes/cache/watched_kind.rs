//! The kinds of objects that the operator creates and therefore watches.

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{ConfigMap, LimitRange, ResourceQuota, Service},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{Resource, api::ApiResource};

use crate::{
    kubernetes::kinds::optional_kinds,
    resources::{http_route, pod_monitor, prometheus_rule, scaled_object},
};

/// How much of each object the watch requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Projection {
    Whole,
    Metadata,
}

/// A kind that the operator creates objects of.
pub(super) struct WatchedKind {
    pub resource: ApiResource,
    pub projection: Projection,
}

impl WatchedKind {
    /// Whether the operator works in a cluster that does not serve the kind.
    pub fn is_optional(&self) -> bool {
        optional_kinds().contains(&self.resource)
    }
}

/// Every kind that the operator creates objects of, except Secrets and custom resources.
pub(super) fn watched_kinds() -> Vec<WatchedKind> {
    fn kind<K: Resource<DynamicType = ()>>(projection: Projection) -> WatchedKind {
        WatchedKind { resource: ApiResource::erase::<K>(&()), projection }
    }
    vec![
        kind::<Deployment>(Projection::Whole),
        kind::<StatefulSet>(Projection::Whole),
        kind::<Job>(Projection::Whole),
        kind::<HorizontalPodAutoscaler>(Projection::Whole),
        kind::<ResourceQuota>(Projection::Whole),
        kind::<ConfigMap>(Projection::Metadata),
        kind::<Service>(Projection::Metadata),
        kind::<LimitRange>(Projection::Metadata),
        kind::<NetworkPolicy>(Projection::Metadata),
        kind::<Ingress>(Projection::Metadata),
        kind::<PodDisruptionBudget>(Projection::Metadata),
        WatchedKind { resource: http_route::resource(), projection: Projection::Metadata },
        WatchedKind { resource: scaled_object::resource(), projection: Projection::Whole },
        WatchedKind { resource: pod_monitor::resource(), projection: Projection::Metadata },
        WatchedKind { resource: prometheus_rule::resource(), projection: Projection::Metadata },
    ]
}
