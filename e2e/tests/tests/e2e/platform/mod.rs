//! The life of a platform: creation, analyses, scaling, a rollout, changes of its spec, and
//! deletion.
//!
//! It is one test with steps, because starting a platform takes most of the time.

mod scaling;

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use serde_json::{Value, json};
use switchyard_e2e::{ApiClient, Cluster, Namespace, Platform, deploy_profile_source, eventually};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite;

use self::scaling::{
    ANALYSIS, connections_stay_within_their_allocations_during_rollouts, idle_pool_scales_to_zero,
    kubectl_scale_is_kept, pool_scales_from_zero_with_its_jobs,
    pool_without_a_usable_gpu_runs_on_the_cpu_and_reports_it,
};

/// Kinds of the objects that the operator creates for a platform.
const MANAGED_KINDS: &[&str] = &[
    "AnalyticsPlatform",
    "WorkerPool",
    "Deployment",
    "StatefulSet",
    "Job",
    "Service",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "NetworkPolicy",
    "PodDisruptionBudget",
];

#[tokio::test]
async fn platform_runs_analyses_scales_and_leaves_nothing_after_deletion() -> Result<()> {
    let namespace = Cluster::connect().await?.create_namespace("platform").await?;
    let source = deploy_profile_source(&namespace).await?;
    let platform =
        Platform::ready(&namespace, "main", json!({"environment": "development", "profileSource": source})).await?;
    default_pools_are_ready(&namespace).await?;

    let admin = platform.admin().await?;
    let (tenant, client) = admin.create_tenant("enterprise", 100).await?;
    new_profile_is_analyzed_end_to_end(&client).await?;
    repeated_request_hits_the_cache_and_other_tenants_see_nothing(&admin, &client).await?;
    unknown_profile_makes_a_dead_job_and_is_refunded(&admin, &tenant, &client).await?;
    watcher_receives_every_event_and_can_resume(&client).await?;
    kubectl_scale_is_kept(&namespace).await?;
    pool_without_a_usable_gpu_runs_on_the_cpu_and_reports_it(&namespace).await?;
    idle_pool_scales_to_zero(&namespace).await?;
    pool_scales_from_zero_with_its_jobs(&namespace, &client).await?;
    connections_stay_within_their_allocations_during_rollouts(&platform, &client).await?;
    unchanged_platform_is_not_written(&namespace).await?;
    plan_prints_changes_without_applying_them(&namespace).await?;
    objects_of_removed_fields_are_deleted(&namespace).await?;
    deletion_removes_every_object(&namespace).await?;
    operator_log_has_no_forbidden_request(&namespace).await?;
    namespace.delete().await
}

async fn default_pools_are_ready(namespace: &Namespace) -> Result<()> {
    for kind in ["general", "cdn", "discovery", "ai"] {
        let name = format!("main-{kind}");
        namespace.wait_for_condition("WorkerPool", &name, "Ready", "True", Duration::from_mins(2)).await?;
        let pool = namespace.get("WorkerPool", &name).await?;
        ensure!(pool["spec"]["kind"] == kind, "{pool}");
        ensure!(pool["status"]["readyReplicas"] == 1, "{}", pool["status"]);
    }
    let platform = namespace.get("AnalyticsPlatform", "main").await?;
    ensure!(
        platform["status"]["connections"].as_array().is_some_and(|allocations| !allocations.is_empty()),
        "{}",
        platform["status"]
    );
    ensure!(platform["status"]["url"].as_str().is_some_and(|url| url.contains("main-api")), "{}", platform["status"]);
    Ok(())
}

async fn new_profile_is_analyzed_end_to_end(client: &ApiClient) -> Result<()> {
    let job = client.submit("somebody").await?;
    let ended = client.wait_until_finished(&job, ANALYSIS).await?;
    ensure!(ended["state"] == "completed" && ended["progress"] == 100, "{ended}");

    let result = client.get(&format!("/v1/jobs/{job}/result")).await?.expect(200)?;
    let posts = result["posts"].as_array().context("posts")?;
    ensure!(posts.len() >= 10, "{} posts", posts.len());
    for post in posts {
        let labelled = post["language"].is_string()
            && post["sentiment"]["label"].is_string()
            && post["sentiment"]["score"].is_number()
            && post["category"]["label"].is_string();
        ensure!(labelled, "{post}");
    }
    let images: Vec<&Value> = posts.iter().flat_map(|post| post["images"].as_array().into_iter().flatten()).collect();
    ensure!(!images.is_empty() && images.iter().all(|image| image.get("error").is_none()), "{images:?}");
    ensure!(result["model"]["fallback"] == false, "{}", result["model"]);
    ensure!(result["aggregate"]["languages"].as_object().is_some_and(|l| l.len() > 1), "{}", result["aggregate"]);
    ensure!(result["aggregate"]["engagement_rate"].is_number(), "{}", result["aggregate"]);
    ensure!(client.get("/v1/profiles/somebody").await?.expect(200)?.is_object());
    Ok(())
}

async fn repeated_request_hits_the_cache_and_other_tenants_see_nothing(
    admin: &ApiClient,
    client: &ApiClient,
) -> Result<()> {
    let again = client.post("/v1/analyses", json!({"username": "somebody"})).await?;
    ensure!(again.status == 200 && again.header("x-cache") == "hit", "{again:?}");
    let jobs = client.get("/v1/jobs").await?.expect(200)?;
    let job = jobs["jobs"][0]["id"].as_str().with_context(|| format!("{jobs}"))?.to_owned();
    let (_, other) = admin.create_tenant("free", 10).await?;
    for path in ["", "/result"] {
        other.get(&format!("/v1/jobs/{job}{path}")).await?.expect(404)?;
    }
    let error = watch(&other, &job, None).await.err().context("another tenant may watch")?.to_string();
    ensure!(error.contains("404"), "{error}");
    other.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await?.expect(404)?;
    other.get("/v1/profiles/somebody").await?.expect(404)?;
    Ok(())
}

async fn unknown_profile_makes_a_dead_job_and_is_refunded(
    admin: &ApiClient,
    tenant: &str,
    client: &ApiClient,
) -> Result<()> {
    let account = || async { admin.get(&format!("/admin/v1/tenants/{tenant}")).await?.expect(200) };
    let before = account().await?;
    let job = client.submit("missing-person").await?;
    let charged = account().await?;
    ensure!(charged["credits"].as_i64() < before["credits"].as_i64(), "{before} -> {charged}");
    let ended = client.wait_until_finished(&job, ANALYSIS).await?;
    ensure!(ended["state"] == "dead" && ended["attempt"] == 1, "{ended}");
    ensure!(ended["error"]["message"].as_str().is_some_and(|m| m.contains("missing-person")), "{ended}");
    let after = account().await?;
    ensure!(after["credits"] == before["credits"] && after["ledger_sum"] == after["credits"], "{before} -> {after}");
    let dead = admin.get("/admin/v1/dead").await?.expect(200)?;
    ensure!(dead.to_string().contains(&job), "{dead}");
    Ok(())
}

async fn watcher_receives_every_event_and_can_resume(client: &ApiClient) -> Result<()> {
    let job = client.submit("watched").await?;
    let all = watch(client, &job, None).await?;
    let numbers: Vec<i64> = all.iter().filter_map(|event| event["seq"].as_i64()).collect();
    ensure!(numbers == (1_i64..).take(numbers.len()).collect::<Vec<_>>(), "gaps in {numbers:?}");
    ensure!(all.last().is_some_and(|event| event["state"] == "completed"), "{all:?}");
    let rest = watch(client, &job, Some(2)).await?;
    ensure!(rest.first().is_some_and(|event| event["seq"] == 3) && rest.len() == all.len() - 2, "{rest:?}");
    Ok(())
}

/// Receives events until the server closes the WebSocket.
async fn watch(client: &ApiClient, job: &str, after: Option<i64>) -> Result<Vec<Value>> {
    let mut socket = client.watch_events(job, after).await?;
    let mut events = Vec::new();
    while let Some(message) = tokio::time::timeout(ANALYSIS, socket.next()).await? {
        match message? {
            tungstenite::Message::Text(text) => events.push(serde_json::from_str(&text)?),
            tungstenite::Message::Close(_) => break,
            _ => {}
        }
    }
    Ok(events)
}

/// The operator's RBAC rules allow every request that it sent.
async fn operator_log_has_no_forbidden_request(namespace: &Namespace) -> Result<()> {
    use k8s_openapi::api::core::v1::Pod;
    let pods = kube::Api::<Pod>::namespaced(namespace.cluster.client.clone(), "switchyard-system");
    let list = pods.list(&ListParams::default().labels("app.kubernetes.io/name=switchyard-operator")).await?;
    ensure!(!list.items.is_empty(), "no operator");
    for pod in list {
        let log = pods.logs(pod.metadata.name.as_deref().unwrap_or_default(), &LogParams::default()).await?;
        // A namespace that is being deleted refuses writes, and an Event about that finds it gone.
        let in_deletion = |line: &str| line.contains("being terminated") || line.contains("NotFound (Status");
        let forbidden: Vec<&str> = log.lines().filter(|line| line.contains("orbidden") && !in_deletion(line)).collect();
        ensure!(forbidden.is_empty(), "{forbidden:#?}");
    }
    Ok(())
}

async fn unchanged_platform_is_not_written(namespace: &Namespace) -> Result<()> {
    namespace.wait_for_condition("AnalyticsPlatform", "main", "Ready", "True", Duration::from_mins(1)).await?;
    // Two equal lists of resource versions show that the platform has settled.
    let settled = eventually(Duration::from_secs(90), "the platform settles", || async {
        let first = namespace.managed_objects(MANAGED_KINDS).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        ensure!(first == namespace.managed_objects(MANAGED_KINDS).await?, "objects still change");
        Ok(first)
    })
    .await?;
    let annotated = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform",
        "metadata": {"name": "main", "annotations": {"e2e": "touched"}}});
    let params = PatchParams::apply("e2e-touch");
    namespace.api("AnalyticsPlatform").patch("main", &params, &Patch::Apply(&annotated)).await?;
    // A deleted object that is there again shows that a reconcile has run since. Reconciles of one
    // platform run one after the other, so the second object shows that the first one has ended.
    let policies = namespace.api("NetworkPolicy");
    let names: Vec<String> = policies
        .list(&ListParams::default())
        .await?
        .into_iter()
        .filter_map(|policy| policy.metadata.name)
        .take(2)
        .collect();
    ensure!(names.len() == 2, "{names:?}");
    for name in &names {
        policies.delete(name, &DeleteParams::default()).await?;
        eventually(Duration::from_mins(1), format!("{name} is created again"), || async {
            Ok(policies.get(name).await?)
        })
        .await?;
    }
    let untouched = |list: Vec<String>| -> Vec<String> {
        let touched = |object: &str| {
            let name = object.split(' ').next().unwrap_or_default();
            name == "AnalyticsPlatform/main" || names.iter().any(|policy| name == format!("NetworkPolicy/{policy}"))
        };
        list.into_iter().filter(|object| !touched(object)).collect()
    };
    let (before, after) = (untouched(settled), untouched(namespace.managed_objects(MANAGED_KINDS).await?));
    ensure!(before == after, "a second reconcile wrote:\n{before:#?}\n{after:#?}");
    Ok(())
}

/// A plan of the live spec has no change. A plan of another lane names what it rolls out, without
/// doing it.
async fn plan_prints_changes_without_applying_them(namespace: &Namespace) -> Result<()> {
    let live = namespace.get("AnalyticsPlatform", "main").await?;
    let plan = async |spec: Value| -> Result<(Option<i32>, String)> {
        let object =
            json!({"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": {"name": "main"}, "spec": spec});
        let program = std::env::var("SWITCHYARD_E2E_PLAN").context("SWITCHYARD_E2E_PLAN is not set")?;
        let mut child = tokio::process::Command::new(program)
            .args(["plan", "--exit-code", "-n", &namespace.name, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("a pipe")?.write_all(object.to_string().as_bytes()).await?;
        let output = child.wait_with_output().await?;
        Ok((
            output.status.code(),
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat(),
        ))
    };
    let (code, text) = plan(live["spec"].clone()).await?;
    ensure!(code == Some(0), "{code:?}: {text}");
    let mut changed = live["spec"].clone();
    changed["lanes"]["low"]["maxRunning"] = json!(3);
    let (code, text) = plan(changed).await?;
    ensure!(code == Some(2) && text.contains("ConfigMap/main-api"), "{code:?}: {text}");
    ensure!(namespace.get("AnalyticsPlatform", "main").await?["spec"] == live["spec"], "the plan changed the platform");
    Ok(())
}

/// Network policies and the API's autoscaler exist only while the spec asks for them.
async fn objects_of_removed_fields_are_deleted(namespace: &Namespace) -> Result<()> {
    let platform = namespace.get("AnalyticsPlatform", "main").await?;
    let count =
        |kind: &'static str| async move { Ok::<_, anyhow::Error>(namespace.managed_objects(&[kind]).await?.len()) };
    ensure!(count("NetworkPolicy").await? > 0, "no network policies");
    ensure!(count("HorizontalPodAutoscaler").await? == 0, "an autoscaler without api.scaling");
    let spec = |changes: Value| {
        let mut spec = platform["spec"].clone();
        spec.as_object_mut().expect("a spec").extend(changes.as_object().expect("fields").clone());
        json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "main"}, "spec": spec})
    };
    let reaches = |policies: bool, autoscalers: usize| async move {
        eventually(Duration::from_mins(1), "policies and autoscaler match the spec", || async {
            let (found, scalers) = (count("NetworkPolicy").await?, count("HorizontalPodAutoscaler").await?);
            ensure!((found > 0) == policies && scalers == autoscalers, "{found} policies, {scalers} autoscalers");
            Ok(())
        })
        .await
    };
    namespace.apply(spec(json!({"networkPolicies": false, "api": {"scaling": {"min": 1, "max": 2}}}))).await?;
    reaches(false, 1).await?;
    namespace.apply(spec(json!({}))).await?;
    reaches(true, 0).await?;
    namespace.wait_for_condition("AnalyticsPlatform", "main", "Ready", "True", Duration::from_mins(1)).await?;
    let api = namespace.get("Deployment", "main-api").await?;
    ensure!(api["spec"]["replicas"] == 1, "{}", api["spec"]["replicas"]);
    Ok(())
}

async fn deletion_removes_every_object(namespace: &Namespace) -> Result<()> {
    namespace.delete_object("AnalyticsPlatform", "main").await?;
    eventually(Duration::from_mins(2), "every object of the platform is deleted", || async {
        let left = namespace.managed_objects(MANAGED_KINDS).await?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
    .await
}
