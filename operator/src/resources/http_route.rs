//! `HTTPRoute` of the Gateway API, which a cluster may or may not have. Its types are not among Kubernetes' own, so this writes its JSON.

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

/// Leads `host`, where the Gateways `parents` take it in, to port `port` of the Service `service`.
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
