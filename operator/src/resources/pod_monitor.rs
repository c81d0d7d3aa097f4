//! `PodMonitor` of the Prometheus operator, an optional kind.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::json;

use crate::{resources::manifest::Manifest, spec::names};

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PodMonitor"))
}

/// Scrapes the port `port` of the pods that `selector` and `components` select, every
/// `interval_seconds`.
///
/// The series get the labels `platform` and `workload`. The latter is the pod label `pool`, or
/// `otherwise` for pods without it.
pub fn pod_monitor(
    metadata: ObjectMeta,
    selector: &BTreeMap<String, String>,
    components: &[&str],
    (platform, pool, otherwise): (&str, &str, &str),
    (port, interval_seconds): (&str, u64),
) -> Manifest {
    let source = |label: &str| {
        format!("__meta_kubernetes_pod_label_{}", label.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
    };
    let spec = json!({
        "selector": {
            "matchLabels": selector,
            "matchExpressions": [{"key": names::COMPONENT_LABEL, "operator": "In", "values": components}],
        },
        "podMetricsEndpoints": [{
            "port": port,
            "interval": format!("{interval_seconds}s"),
            "relabelings": [
                {
                    "action": "replace", "sourceLabels": [source(names::PLATFORM_LABEL)], "targetLabel": "platform",
                    "replacement": "$1", "regex": format!("({platform})"),
                },
                {"action": "replace", "targetLabel": "workload", "replacement": otherwise},
                {
                    "action": "replace", "sourceLabels": [source(pool)], "targetLabel": "workload",
                    "regex": "(.+)", "replacement": "$1",
                },
            ],
        }],
    });
    let resource = resource();
    let mut object = DynamicObject::new(metadata.name.as_deref().unwrap_or_default(), &resource);
    object.metadata = metadata;
    object.data = json!({"spec": spec});
    Manifest { resource, object }
}
