//! In a cluster with KEDA, KEDA scales the pools: to none and back too. When it goes, the operator does it alone again.
//!
//! Needs KEDA, and an operator that leaves the external-metrics API to it: `e2e/run` sees to both.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use switchyard_e2e::{Cluster, Platform, grows_with_its_jobs, patiently, profile_source};

const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn keda_scales_a_pool_from_none_and_is_done_without_when_it_goes() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("keda").await?;
    let source = profile_source(&namespace).await?;
    let spec = json!({"environment": "development", "profileSource": source});
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let (_, client) = platform.admin().await?.tenant("enterprise", 100).await?;

    let none = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "main-cdn"},
        "spec": {"platformRef": {"name": "main"}, "kind": "cdn", "replicas": 0}});
    namespace.apply(none).await?;
    let mut pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "burst"},
        "spec": {"platformRef": {"name": "main"}, "kind": "cdn", "concurrency": 1, "scaling": {"min": 0, "max": 3, "targetBacklog": 1},
            "podTemplate": {"spec": {"nodeSelector": {"e2e": "nowhere"}}}}});
    namespace.apply(pool.clone()).await?;
    let (reason, _) = namespace.wait("WorkerPool", "burst", "Ready", "True", LIMIT).await?;
    ensure!(reason == "ScaledToZero", "{reason}");
    patiently(LIMIT, "KEDA takes the pool on", || async {
        let object = namespace.get("ScaledObject", "burst").await?;
        let ready = object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        ensure!(ready, "{}", object["status"]);
        Ok(())
    })
    .await?;
    ensure!(
        namespace.get("HorizontalPodAutoscaler", "burst").await.is_err(),
        "there is an autoscaler of the operator's too"
    );

    let jobs = grows_with_its_jobs(&namespace, &client, "burst", "keda-hpa-burst", 3, LIMIT).await?;
    namespace.wait("WorkerPool", "burst", "Autoscaling", "True", LIMIT).await?;
    if let Some(spec) = pool["spec"].as_object_mut() {
        spec.remove("podTemplate");
    }
    namespace.apply(pool).await?;
    for job in jobs {
        let ended: Value = client.ended(&job, LIMIT).await?;
        ensure!(ended["state"] == "completed", "{ended}");
    }

    let kinds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    kinds.delete("scaledobjects.keda.sh", &DeleteParams::default()).await?;
    patiently(LIMIT, "an autoscaler of the operator's own again", || async {
        namespace.get("HorizontalPodAutoscaler", "burst").await
    })
    .await?;
    namespace.wait("WorkerPool", "burst", "Ready", "True", LIMIT).await?;
    namespace.delete().await
}
