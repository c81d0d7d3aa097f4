//! A platform under test.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    api::ApiClient,
    cluster::{Namespace, image},
    wait::eventually,
};

/// Limit for a platform with bundled services to become Ready, on two busy cores.
const READY_WITHIN: Duration = Duration::from_mins(5);

/// An `AnalyticsPlatform` that is Ready.
pub struct Platform {
    pub namespace: Namespace,
    pub name: String,
}

impl Platform {
    /// Applies a platform with `spec` and waits until it is Ready.
    ///
    /// # Errors
    /// The API server refuses the platform, or it is not Ready after five minutes.
    pub async fn ready(namespace: &Namespace, name: &str, spec: Value) -> Result<Self> {
        let this = Self { namespace: namespace.clone(), name: name.to_owned() };
        this.apply(&spec).await?;
        namespace.wait_for_condition("AnalyticsPlatform", name, "Ready", "True", READY_WITHIN).await?;
        Ok(this)
    }

    /// Applies another spec.
    ///
    /// # Errors
    /// The API server refuses the spec.
    pub async fn apply(&self, spec: &Value) -> Result<()> {
        self.namespace.apply(manifest(&self.name, spec)).await?;
        Ok(())
    }

    /// A client of the API with the admin key. Waits until the API answers.
    ///
    /// # Errors
    /// The Service or the admin key does not exist, or the API does not answer within 30 seconds.
    pub async fn admin(&self) -> Result<ApiClient> {
        let service = self.namespace.get("Service", &format!("{}-api", self.name)).await?;
        let address = service["spec"]["clusterIP"].as_str().context("the API's Service has no address")?;
        let key = self.namespace.secret(&format!("{}-admin", self.name), "key").await?;
        let client = ApiClient::new(format!("http://{address}"), key)?;
        eventually(Duration::from_secs(30), "the API answers", || async {
            client.get("/openapi.json").await?.expect(200)
        })
        .await?;
        Ok(client)
    }
}

/// Submits more jobs than one pod of `pool` runs, and returns them once the pool has `most` pods.
///
/// `scaler` is the name of the HorizontalPodAutoscaler that does it.
///
/// # Errors
/// A submission fails, or the pool has another number of pods after `limit`.
pub async fn submit_until_scaled_out(
    namespace: &Namespace,
    client: &ApiClient,
    pool: &str,
    scaler: &str,
    most: i32,
    limit: Duration,
) -> Result<Vec<String>> {
    let mut jobs = Vec::new();
    for name in ["wakes", "grows", "grows-more", "grows-most"] {
        jobs.push(client.submit(name).await?);
    }
    eventually(limit, format!("{pool} scales out to {most} pods"), || async {
        let pods = namespace.get("Deployment", pool).await?["spec"]["replicas"].clone();
        let scaler = namespace.get("HorizontalPodAutoscaler", scaler).await?;
        ensure!(pods == most, "{pods} pods; {}", scaler["status"]);
        Ok(())
    })
    .await?;
    Ok(jobs)
}

/// An `AnalyticsPlatform` object.
fn manifest(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": name}, "spec": spec})
}

/// Deploys the Apify stand-in in `namespace` and returns the `profileSource` of a platform for it.
///
/// # Errors
/// The API server refuses an object.
pub async fn deploy_profile_source(namespace: &Namespace) -> Result<Value> {
    let labels = json!({"app": "apify-stand-in"});
    namespace
        .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "profile-source"}, "stringData": {"token": "e2e"}}))
        .await?;
    namespace
        .apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "apify-stand-in"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
        }))
        .await?;
    namespace
        .apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "apify-stand-in"},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "apify-stand-in", "image": image("apify-stand-in"), "imagePullPolicy": "IfNotPresent",
                    "args": ["--listen", "0.0.0.0:8080", "--token-file", "/etc/apify/token"],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
                    },
                    "volumeMounts": [{"name": "token", "mountPath": "/etc/apify", "readOnly": true}]
                }],
                "volumes": [{"name": "token", "secret": {"secretName": "profile-source"}}]
            }}}
        }))
        .await?;
    Ok(json!({
        "endpoint": "http://apify-stand-in", "actor": "apify~instagram-profile-scraper", "secretRef": {"name": "profile-source"}
    }))
}
