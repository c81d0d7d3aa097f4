//! Generates the CRDs as YAML documents.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::crd::{analytics_platform::AnalyticsPlatform, worker_pool::WorkerPool};

/// Maximum size of a shipped CRD, in bytes. A client-side `kubectl apply` stores the object in an
/// annotation and fails above 262,144.
pub const SIZE_LIMIT: usize = 200 * 1024;

/// A CRD as a file.
#[derive(Debug)]
pub struct Document {
    /// File name, for example `switchyard.dev_workerpools.yaml`.
    pub file: String,
    /// Content of the file.
    pub yaml: String,
}

/// Every CRD of the project.
///
/// # Errors
/// A type does not serialize, which is a bug.
pub fn documents() -> anyhow::Result<Vec<Document>> {
    [AnalyticsPlatform::crd(), WorkerPool::crd()].iter().map(document).collect()
}

fn document(crd: &CustomResourceDefinition) -> anyhow::Result<Document> {
    let mut value = serde_json::to_value(crd)?;
    prune(&mut value);
    leave_unobserved(&mut value);
    // Deleting a CRD deletes every object of its kind. Helm never does; Argo CD and Flux need
    // these.
    value["metadata"]["annotations"] = json!({
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
        "kustomize.toolkit.fluxcd.io/prune": "disabled",
    });
    Ok(Document {
        file: format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural),
        yaml: serde_norway::to_string(&value)?,
    })
}

/// Sets `observedGeneration: -1` as the default of the status.
///
/// kstatus, which Flux uses, reports an object without a status as ready. This is the only default:
/// one in a spec would appear as drift in a GitOps pipeline.
fn leave_unobserved(crd: &mut Value) {
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] = json!({"observedGeneration": -1});
    }
}

/// Normalizes the derived schema to what the API server stores, so that a GitOps pipeline sees no
/// drift.
///
/// Removes empty lists, formats that Kubernetes does not know, and the long description of
/// quantities, and writes whole numbers as integers. Fields are not nullable: the API server drops
/// an explicit null, so `has()` in a rule implies a value.
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
                #[expect(clippy::cast_possible_truncation, reason = "a whole number below 10^15")]
                let whole = whole as i64;
                *number = whole.into();
            }
        }
        _ => {}
    }
}
