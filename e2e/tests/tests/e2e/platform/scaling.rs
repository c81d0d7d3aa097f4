//! Steps that scale pools and the API.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use switchyard_e2e::{ApiClient, Callers, ConnectionMonitor, Namespace, Platform, eventually, submit_until_scaled_out};

/// Limit for an analysis.
pub const ANALYSIS: Duration = Duration::from_mins(3);

async fn kubectl_scale(namespace: &Namespace, pool: &str, replicas: i32) -> Result<()> {
    let kubectl = std::env::var("SWITCHYARD_E2E_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let scaled = tokio::process::Command::new(kubectl)
        .args(["-n", &namespace.name, "scale", "wp", pool, &format!("--replicas={replicas}")])
        .output()
        .await?;
    ensure!(scaled.status.success(), "{}", String::from_utf8_lossy(&scaled.stderr));
    Ok(())
}

pub async fn kubectl_scale_is_kept(namespace: &Namespace) -> Result<()> {
    for replicas in [2, 1] {
        kubectl_scale(namespace, "main-cdn", replicas).await?;
        eventually(Duration::from_secs(90), format!("main-cdn has {replicas}"), || async {
            let pool = namespace.get("WorkerPool", "main-cdn").await?;
            let deployment = namespace.get("Deployment", "main-cdn").await?;
            if pool["status"]["readyReplicas"] != replicas || deployment["status"]["replicas"] != replicas {
                bail!("{} {}", pool["status"], deployment["status"]);
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The node announces a GPU that does not exist, so that the pod is scheduled and searches for one.
pub async fn pool_without_a_usable_gpu_runs_on_the_cpu_and_reports_it(namespace: &Namespace) -> Result<()> {
    const RESOURCE: &str = "switchyard.dev/promised-gpu";
    let nodes = kube::Api::<k8s_openapi::api::core::v1::Node>::all(namespace.cluster.client.clone());
    let capacity = json!({"status": {"capacity": {(RESOURCE): "1"}, "allocatable": {(RESOURCE): "1"}}});
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.metadata.name.context("a node's name")?;
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(&capacity)).await?;
    }
    let pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "main-gpu"}, "spec": {
        "platformRef": {"name": "main"}, "kind": "ai", "gpu": {"resource": RESOURCE, "count": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "256Mi"}}}});
    namespace.apply(pool).await?;
    let limit = Duration::from_mins(3);
    namespace.wait_for_condition("WorkerPool", "main-gpu", "Ready", "True", limit).await?;
    let (reason, message) =
        namespace.wait_for_condition("WorkerPool", "main-gpu", "Accelerated", "False", limit).await?;
    ensure!(reason == "OnProcessor" && message.contains("1 of 1 pods run on the processor"), "{reason}: {message}");
    namespace.delete_object("WorkerPool", "main-gpu").await
}

/// No job was ever in its lane, so the pool does not wait for five idle minutes.
pub async fn idle_pool_scales_to_zero(namespace: &Namespace) -> Result<()> {
    let pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "main-idle"}, "spec": {
        "platformRef": {"name": "main"}, "kind": "discovery", "lanes": ["low"], "scaling": {"min": 0, "max": 2}}});
    namespace.apply(pool).await?;
    let limit = Duration::from_secs(90);
    namespace.wait_for_condition("WorkerPool", "main-idle", "Ready", "True", limit).await?;
    let one = Patch::Merge(json!({"spec": {"replicas": 1}}));
    let patched =
        namespace.api("Deployment").patch("main-idle", &PatchParams::default(), &one).await?.metadata.generation;
    eventually(limit, "the operator scales the pool to zero", || async {
        let deployment = namespace.get("Deployment", "main-idle").await?;
        let (pods, generation) = (&deployment["spec"]["replicas"], deployment["metadata"]["generation"].as_i64());
        ensure!(*pods == 0 && generation > patched, "{pods} pods, generation {generation:?}");
        Ok(())
    })
    .await?;
    namespace.delete_object("WorkerPool", "main-idle").await
}

/// No other pool takes its jobs, and no node takes its pods at first. The jobs therefore wait until
/// the cluster's autoscaler has read the external metric.
pub async fn pool_scales_from_zero_with_its_jobs(namespace: &Namespace, client: &ApiClient) -> Result<()> {
    kubectl_scale(namespace, "main-cdn", 0).await?;
    let mut pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "main-burst"}, "spec": {
        "platformRef": {"name": "main"}, "kind": "cdn", "concurrency": 1, "scaling": {"min": 0, "max": 3, "targetBacklog": 1},
        "podTemplate": {"spec": {"nodeSelector": {"e2e": "nowhere"}}}}});
    namespace.apply(pool.clone()).await?;
    let limit = Duration::from_mins(2);
    let (reason, _) = namespace.wait_for_condition("WorkerPool", "main-burst", "Ready", "True", limit).await?;
    ensure!(reason == "ScaledToZero", "{reason}");

    let jobs = submit_until_scaled_out(namespace, client, "main-burst", "main-burst", 3, limit).await?;
    let scaler = namespace.get("HorizontalPodAutoscaler", "main-burst").await?;
    ensure!(
        scaler["status"]["currentMetrics"][0]["external"]["metric"]["name"] == "switchyard_desired_replicas",
        "{scaler}"
    );
    for job in &jobs {
        let job = client.get(&format!("/v1/jobs/{job}")).await?.expect(200)?;
        ensure!(job["state"] != "dead", "{job}");
    }

    pool["spec"].as_object_mut().context("a spec")?.remove("podTemplate");
    namespace.apply(pool).await?;
    for job in jobs {
        let ended = client.wait_until_finished(&job, ANALYSIS).await?;
        ensure!(ended["state"] == "completed", "{ended}");
    }
    namespace.wait_for_condition("WorkerPool", "main-burst", "Autoscaling", "True", limit).await?;
    namespace.delete_object("WorkerPool", "main-burst").await?;
    kubectl_scale(namespace, "main-cdn", 1).await
}

/// Under load, pools scale out, the API scales out and in, and every pod is replaced. The limit of
/// each role is its allocation of connections, PostgreSQL rejects no connection, and every call
/// succeeds.
pub async fn connections_stay_within_their_allocations_during_rollouts(
    platform: &Platform,
    client: &ApiClient,
) -> Result<()> {
    let namespace = &platform.namespace;
    let object = namespace.get("AnalyticsPlatform", "main").await?;
    let allocations: BTreeMap<String, i64> = object["status"]["connections"]
        .as_array()
        .context("connections")?
        .iter()
        .map(|allocation| {
            (
                allocation["role"].as_str().unwrap_or_default().to_owned(),
                allocation["size"].as_i64().unwrap_or(0) + allocation["overflow"].as_i64().unwrap_or(0),
            )
        })
        .collect();
    let connections = ConnectionMonitor::start(namespace, &platform.name).await?;
    let callers = Callers::start(client, "/v1/usage")?;

    for pool in ["main-general", "main-cdn", "main-ai"] {
        kubectl_scale(namespace, pool, 2).await?;
    }
    let mut jobs = Vec::new();
    for at in 0..8 {
        jobs.push(client.submit(&format!("moves-{at}")).await?);
    }
    // Other retry delays change the configuration: the setup Job runs again, and every pod is
    // replaced.
    let mut spec = object["spec"].clone();
    spec["retry"] = json!({"delays": ["61s", "120s", "300s"]});
    spec["api"] = json!({"scaling": {"min": 2, "max": 3, "targetCpu": 1}});
    namespace.apply(json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "main"}, "spec": spec})).await?;
    eventually(Duration::from_mins(5), "every pod is replaced", || async {
        let (reason, message) = namespace
            .wait_for_condition("AnalyticsPlatform", "main", "Reconciling", "False", Duration::from_secs(1))
            .await?;
        ensure!(reason == "UpToDate", "{reason}: {message}");
        let api = namespace.get("Deployment", "main-api").await?;
        ensure!(api["status"]["readyReplicas"].as_i64() >= Some(2), "{}", api["status"]);
        Ok(())
    })
    .await?;
    for job in jobs {
        let ended = client.wait_until_finished(&job, ANALYSIS).await?;
        ensure!(ended["state"] == "completed", "{ended}");
    }
    // PostgreSQL holds each role to its allocation. A pod that wants more is rejected, so a rollout
    // stays within the allocations exactly if PostgreSQL rejects nothing.
    let limits = ConnectionMonitor::limits(namespace, &platform.name).await?;
    ensure!(limits == allocations, "the roles' limits are {limits:?}, the allocations {allocations:?}");
    let peaks = connections.peaks()?;
    for (role, allocation) in &allocations {
        let peak = peaks.get(role).copied().unwrap_or(0);
        println!("{role}: at most {peak} of {allocation} connections");
        ensure!(peak > 0, "{role} had no connection");
    }
    let rejections = ConnectionMonitor::rejections(namespace, &platform.name).await?;
    ensure!(rejections.is_empty(), "PostgreSQL rejected connections: {rejections:#?}");

    for pool in ["main-general", "main-cdn", "main-ai"] {
        kubectl_scale(namespace, pool, 1).await?;
    }
    let mut spec = object["spec"].clone();
    spec["retry"] = json!({"delays": ["61s", "120s", "300s"]});
    namespace.apply(json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "main"}, "spec": spec})).await?;
    eventually(Duration::from_mins(2), "the API has one pod again", || async {
        let api = namespace.get("Deployment", "main-api").await?;
        ensure!(api["spec"]["replicas"] == 1 && api["status"]["replicas"] == 1, "{}", api["status"]);
        Ok(())
    })
    .await?;
    // A terminating pod serves calls for some seconds, until endpoints have dropped it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("{} calls succeeded meanwhile", callers.stop_and_expect_success().await?);
    Ok(())
}
