//! KEDA scales the pools, also to zero and back. Without KEDA the operator's own autoscalers
//! return.
//!
//! Needs KEDA, and an operator without `externalMetrics.enabled`; `e2e/run` installs both.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use switchyard_e2e::{Cluster, Platform, deploy_profile_source, eventually, submit_until_scaled_out};

const LIMIT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn keda_scales_a_pool_from_zero_and_autoscalers_replace_a_removed_keda() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.create_namespace("keda").await?;
    let source = deploy_profile_source(&namespace).await?;
    let spec = json!({"environment": "development", "profileSource": source});
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let (_, client) = platform.admin().await?.create_tenant("enterprise", 100).await?;

    let fixed = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "main-cdn"},
        "spec": {"platformRef": {"name": "main"}, "kind": "cdn", "replicas": 0}});
    namespace.apply(fixed).await?;
    let mut pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "burst"},
        "spec": {"platformRef": {"name": "main"}, "kind": "cdn", "concurrency": 1, "scaling": {"min": 0, "max": 3, "targetBacklog": 1},
            "podTemplate": {"spec": {"nodeSelector": {"e2e": "nowhere"}}}}});
    namespace.apply(pool.clone()).await?;
    let (reason, _) = namespace.wait_for_condition("WorkerPool", "burst", "Ready", "True", LIMIT).await?;
    ensure!(reason == "ScaledToZero", "{reason}");
    eventually(LIMIT, "the ScaledObject is Ready", || async {
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
        "the operator's own autoscaler still exists"
    );

    let jobs = submit_until_scaled_out(&namespace, &client, "burst", "keda-hpa-burst", 3, LIMIT).await?;
    namespace.wait_for_condition("WorkerPool", "burst", "Autoscaling", "True", LIMIT).await?;
    if let Some(spec) = pool["spec"].as_object_mut() {
        spec.remove("podTemplate");
    }
    namespace.apply(pool).await?;
    for job in jobs {
        let ended: Value = client.wait_until_finished(&job, LIMIT).await?;
        ensure!(ended["state"] == "completed", "{ended}");
    }

    let kinds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    kinds.delete("scaledobjects.keda.sh", &DeleteParams::default()).await?;
    eventually(LIMIT, "the operator creates its own autoscaler", || async {
        namespace.get("HorizontalPodAutoscaler", "burst").await
    })
    .await?;
    namespace.wait_for_condition("WorkerPool", "burst", "Ready", "True", LIMIT).await?;
    namespace.delete().await
}
