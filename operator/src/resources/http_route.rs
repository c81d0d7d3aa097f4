//! `HTTPRoute` of the Gateway API, an optional kind. `k8s-openapi` has no types for it, so it is
//! written as JSON.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::{
    crd::ParentRef,
    resources::{ingress::PATHS, manifest::Manifest},
};

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"))
}

/// Routes `host` at the Gateways `parents` to the port `port` of the Service `service`.
pub fn http_route(metadata: ObjectMeta, parents: &[ParentRef], host: &str, (service, port): (&str, i32)) -> Manifest {
    let matches: Vec<Value> = PATHS
        .iter()
        .map(|(path, prefix)| json!({"path": {"type": if *prefix { "PathPrefix" } else { "Exact" }, "value": path}}))
        .collect();
    let spec = json!({
        "parentRefs": parents,
        "hostnames": [host],
        "rules": [{"matches": matches, "backendRefs": [{"name": service, "port": port}]}],
    });
    let resource = resource();
    let mut object = DynamicObject::new(metadata.name.as_deref().unwrap_or_default(), &resource);
    object.metadata = metadata;
    object.data = json!({"spec": spec});
    Manifest { resource, object }
}
