//! What a GPU adds to the pods of a pool: the provider check and the node scheduling.

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, Toleration};

use crate::{
    controllers::worker_pool::execution_provider::PROVIDER_CHECK,
    crd::{Gpu, PodTemplate},
    resources::pod::SCRATCH,
};

/// Adds an init container that reports in its termination message whether the model runs on a GPU.
///
/// [`ExecutionProvider`](crate::controllers::worker_pool::execution_provider::ExecutionProvider)
/// reads the message.
pub fn with_provider_check(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let spec = template.spec.get_or_insert_default();
    let check = spec.containers.first().map(|worker| Container {
        name: PROVIDER_CHECK.to_owned(),
        args: Some(vec!["provider".to_owned()]),
        ports: None,
        startup_probe: None,
        readiness_probe: None,
        liveness_probe: None,
        // No Secrets: it only runs the model.
        volume_mounts: worker
            .volume_mounts
            .as_ref()
            .map(|mounts| mounts.iter().filter(|mount| mount.name == SCRATCH).cloned().collect()),
        ..worker.clone()
    });
    spec.init_containers = check.map(|check| vec![check]);
    template
}

/// Node selector, tolerations and runtime class of GPU pods, as overrides of a pod template.
pub fn scheduling(gpu: &Gpu) -> PodTemplate {
    let mut spec = serde_json::Map::new();
    if let Some(selector) = &gpu.node_selector {
        spec.insert("nodeSelector".into(), serde_json::json!(selector));
    }
    if let Some(tolerations) = gpu.tolerations.as_ref().filter(|list| !list.is_empty()) {
        let tolerations: &[Toleration] = tolerations;
        spec.insert("tolerations".into(), serde_json::json!(tolerations));
    }
    if let Some(class) = &gpu.runtime_class_name {
        spec.insert("runtimeClassName".into(), serde_json::json!(class));
    }
    PodTemplate(serde_json::Map::from_iter([("spec".to_owned(), serde_json::Value::Object(spec))]))
}
