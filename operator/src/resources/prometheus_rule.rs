//! `PrometheusRule` of the Prometheus operator, an optional kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::resources::manifest::Manifest;

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PrometheusRule"))
}

/// A PrometheusRule with these groups of rules.
pub fn prometheus_rule(metadata: ObjectMeta, groups: &Value) -> Manifest {
    let resource = resource();
    let mut object = DynamicObject::new(metadata.name.as_deref().unwrap_or_default(), &resource);
    object.metadata = metadata;
    object.data = json!({"spec": {"groups": groups}});
    Manifest { resource, object }
}
