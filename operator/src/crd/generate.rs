//! The CRDs as YAML documents.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::crd::{analytics_platform::AnalyticsPlatform, worker_pool::WorkerPool};

/// Largest CRD that we ship, in bytes: past 262,144 a client-side `kubectl apply` fails.
pub const SIZE_LIMIT: usize = 200 * 1024;

/// A CRD, its file name and its YAML.
#[derive(Debug)]
pub struct Document {
    /// For instance `switchyard.dev_workerpools.yaml`.
    pub file: String,
    /// What is in the file.
    pub yaml: String,
}

/// Every CRD of the project.
///
/// # Errors
/// When a type does not serialize, which would be a mistake of ours.
pub fn documents() -> anyhow::Result<Vec<Document>> {
    [AnalyticsPlatform::crd(), WorkerPool::crd()].iter().map(document).collect()
}

fn document(crd: &CustomResourceDefinition) -> anyhow::Result<Document> {
    let mut value = serde_json::to_value(crd)?;
    prune(&mut value);
    leave_unobserved(&mut value);
    // Helm never deletes a definition, and with it every object of its kind; Argo CD and Flux have to be told.
    value["metadata"]["annotations"] = json!({
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
        "kustomize.toolkit.fluxcd.io/prune": "disabled",
    });
    Ok(Document {
        file: format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural),
        yaml: serde_norway::to_string(&value)?,
    })
}

/// Says of a status that nobody has written yet that it has observed no generation. A tool that waits by kstatus, such as Flux, takes an object
/// without any status for one that is ready. It is the only default: one in a spec would show up as drift in a GitOps pipeline.
fn leave_unobserved(crd: &mut Value) {
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] = json!({"observedGeneration": -1});
    }
}

/// Brings the derived schema to what the API server stores and a reader wants, so that the stored CRD equals the file and a GitOps pipeline
/// sees no drift: no empty lists, no formats that Kubernetes does not know, whole numbers as such, no essay on quantities. Fields are not
/// nullable: the API server drops a null that somebody writes, so that a rule's `has()` means a value.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, child| match child {
                Value::Array(list) => !list.is_empty(),
                Value::Bool(true) => key != "nullable",
                Value::String(format) => !(key == "format" && format.starts_with("uint")),
                _ => true,
            });
            if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
                map.remove("description");
            }
            map.values_mut().for_each(prune);
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < 1e15) {
                *number = (whole as i64).into();
            }
        }
        _ => {}
    }
}
