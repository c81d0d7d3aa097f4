//! One YAML becomes a platform, the platform finishes an analysis, and nothing is left of it afterwards.
//!
//! One test, in steps, since bringing a platform up is what takes the time.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use serde_json::{Value, json};
use switchyard_e2e::{
    ApiClient, Callers, Cluster, Connections, Namespace, Platform, grows_with_its_jobs, patiently, profile_source,
};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite;

const ANALYSIS: Duration = Duration::from_secs(180);
const MADE: &[&str] = &[
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
async fn from_one_yaml_to_a_finished_analysis_and_away_again() -> Result<()> {
    let namespace = Cluster::connect().await?.namespace("platform").await?;
    let source = profile_source(&namespace).await?;
    let platform =
        Platform::ready(&namespace, "main", json!({"environment": "development", "profileSource": source})).await?;
    every_default_pool_is_ready(&namespace).await?;

    let admin = platform.admin().await?;
    let (tenant, client) = admin.tenant("enterprise", 100).await?;
    an_unseen_profile_is_analysed_end_to_end(&client).await?;
    a_second_request_is_a_cache_hit_and_another_tenant_sees_nothing(&admin, &client).await?;
    an_unknown_profile_ends_dead_with_its_credits_back(&admin, &tenant, &client).await?;
    a_watcher_sees_every_event_and_can_resume(&client).await?;
    kubectl_scale_sticks(&namespace).await?;
    a_pool_that_finds_no_gpu_works_and_says_so(&namespace).await?;
    a_pool_with_nothing_to_do_goes_to_none(&namespace).await?;
    a_pool_without_pods_wakes_for_its_first_jobs_and_grows_with_them(&namespace, &client).await?;
    connections_stay_within_their_rows_while_everything_moves(&platform, &client).await?;
    a_settled_platform_is_not_written_to(&namespace).await?;
    a_plan_tells_what_would_change(&namespace).await?;
    what_is_no_longer_wanted_goes(&namespace).await?;
    deletion_leaves_nothing(&namespace).await?;
    the_operator_was_refused_nothing(&namespace).await?;
    namespace.delete().await
}

async fn every_default_pool_is_ready(namespace: &Namespace) -> Result<()> {
    for kind in ["general", "cdn", "discovery", "ai"] {
        let name = format!("main-{kind}");
        namespace.wait("WorkerPool", &name, "Ready", "True", Duration::from_secs(120)).await?;
        let pool = namespace.get("WorkerPool", &name).await?;
        ensure!(pool["spec"]["kind"] == kind, "{pool}");
        ensure!(pool["status"]["readyReplicas"] == 1, "{}", pool["status"]);
    }
    let platform = namespace.get("AnalyticsPlatform", "main").await?;
    ensure!(
        platform["status"]["connections"].as_array().is_some_and(|rows| !rows.is_empty()),
        "{}",
        platform["status"]
    );
    ensure!(platform["status"]["url"].as_str().is_some_and(|url| url.contains("main-api")), "{}", platform["status"]);
    Ok(())
}

async fn an_unseen_profile_is_analysed_end_to_end(client: &ApiClient) -> Result<()> {
    let job = client.submit("somebody").await?;
    let ended = client.ended(&job, ANALYSIS).await?;
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

async fn a_second_request_is_a_cache_hit_and_another_tenant_sees_nothing(
    admin: &ApiClient,
    client: &ApiClient,
) -> Result<()> {
    let again = client.post("/v1/analyses", json!({"username": "somebody"})).await?;
    ensure!(again.status == 200 && again.header("x-cache") == "hit", "{again:?}");
    let jobs = client.get("/v1/jobs").await?.expect(200)?;
    let job = jobs["jobs"][0]["id"].as_str().with_context(|| format!("{jobs}"))?.to_owned();
    let (_, stranger) = admin.tenant("free", 10).await?;
    for path in ["", "/result"] {
        stranger.get(&format!("/v1/jobs/{job}{path}")).await?.expect(404)?;
    }
    let watched = watch(&stranger, &job, None).await.err().context("a stranger may watch")?.to_string();
    ensure!(watched.contains("404"), "{watched}");
    stranger.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await?.expect(404)?;
    stranger.get("/v1/profiles/somebody").await?.expect(404)?;
    Ok(())
}

async fn an_unknown_profile_ends_dead_with_its_credits_back(
    admin: &ApiClient,
    tenant: &str,
    client: &ApiClient,
) -> Result<()> {
    let account = || async { admin.get(&format!("/admin/v1/tenants/{tenant}")).await?.expect(200) };
    let before = account().await?;
    let job = client.submit("missing-person").await?;
    let charged = account().await?;
    ensure!(charged["credits"].as_i64() < before["credits"].as_i64(), "{before} -> {charged}");
    let ended = client.ended(&job, ANALYSIS).await?;
    ensure!(ended["state"] == "dead" && ended["attempt"] == 1, "{ended}");
    ensure!(ended["error"]["message"].as_str().is_some_and(|m| m.contains("missing-person")), "{ended}");
    let after = account().await?;
    ensure!(after["credits"] == before["credits"] && after["ledger_sum"] == after["credits"], "{before} -> {after}");
    let dead = admin.get("/admin/v1/dead").await?.expect(200)?;
    ensure!(dead.to_string().contains(&job), "{dead}");
    Ok(())
}

async fn a_watcher_sees_every_event_and_can_resume(client: &ApiClient) -> Result<()> {
    let job = client.submit("watched").await?;
    let all = watch(client, &job, None).await?;
    let numbers: Vec<i64> = all.iter().filter_map(|event| event["seq"].as_i64()).collect();
    ensure!(numbers == (1..=numbers.len() as i64).collect::<Vec<_>>(), "gaps in {numbers:?}");
    ensure!(all.last().is_some_and(|event| event["state"] == "completed"), "{all:?}");
    let rest = watch(client, &job, Some(2)).await?;
    ensure!(rest.first().is_some_and(|event| event["seq"] == 3) && rest.len() == all.len() - 2, "{rest:?}");
    Ok(())
}

/// Every event until the server closes the WebSocket.
async fn watch(client: &ApiClient, job: &str, after: Option<i64>) -> Result<Vec<Value>> {
    let mut socket = client.events(job, after).await?;
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

async fn kubectl_scale(namespace: &Namespace, pool: &str, replicas: i32) -> Result<()> {
    let kubectl = std::env::var("SWITCHYARD_E2E_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let scaled = tokio::process::Command::new(kubectl)
        .args(["-n", &namespace.name, "scale", "wp", pool, &format!("--replicas={replicas}")])
        .output()
        .await?;
    ensure!(scaled.status.success(), "{}", String::from_utf8_lossy(&scaled.stderr));
    Ok(())
}

async fn kubectl_scale_sticks(namespace: &Namespace) -> Result<()> {
    for replicas in [2, 1] {
        kubectl_scale(namespace, "main-cdn", replicas).await?;
        patiently(Duration::from_secs(90), format!("main-cdn has {replicas}"), || async {
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

/// The node is made to promise GPUs that it has not got, so that the pod gets as far as to look for one.
async fn a_pool_that_finds_no_gpu_works_and_says_so(namespace: &Namespace) -> Result<()> {
    const RESOURCE: &str = "switchyard.dev/promised-gpu";
    let nodes = kube::Api::<k8s_openapi::api::core::v1::Node>::all(namespace.cluster.client.clone());
    let promise = json!({"status": {"capacity": {(RESOURCE): "1"}, "allocatable": {(RESOURCE): "1"}}});
    for node in nodes.list(&Default::default()).await? {
        let name = node.metadata.name.context("a node's name")?;
        nodes.patch_status(&name, &Default::default(), &kube::api::Patch::Merge(&promise)).await?;
    }
    let pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "main-gpu"}, "spec": {
        "platformRef": {"name": "main"}, "kind": "ai", "gpu": {"resource": RESOURCE, "count": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "256Mi"}}}});
    namespace.apply(pool).await?;
    let limit = Duration::from_secs(180);
    namespace.wait("WorkerPool", "main-gpu", "Ready", "True", limit).await?;
    let (reason, message) = namespace.wait("WorkerPool", "main-gpu", "Accelerated", "False", limit).await?;
    ensure!(reason == "OnProcessor" && message.contains("1 of 1 pods run on the processor"), "{reason}: {message}");
    namespace.delete_object("WorkerPool", "main-gpu").await
}

/// Nothing ever came in its lane, so that it need not wait for five quiet minutes.
async fn a_pool_with_nothing_to_do_goes_to_none(namespace: &Namespace) -> Result<()> {
    let pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "main-idle"}, "spec": {
        "platformRef": {"name": "main"}, "kind": "discovery", "lanes": ["low"], "scaling": {"min": 0, "max": 2}}});
    namespace.apply(pool).await?;
    let limit = Duration::from_secs(90);
    namespace.wait("WorkerPool", "main-idle", "Ready", "True", limit).await?;
    let one = kube::api::Patch::Merge(json!({"spec": {"replicas": 1}}));
    let asked = namespace.api("Deployment").patch("main-idle", &Default::default(), &one).await?.metadata.generation;
    patiently(limit, "the operator takes the pod away again", || async {
        let deployment = namespace.get("Deployment", "main-idle").await?;
        let (pods, generation) = (&deployment["spec"]["replicas"], deployment["metadata"]["generation"].as_i64());
        ensure!(*pods == 0 && generation > asked, "{pods} pods, generation {generation:?}");
        Ok(())
    })
    .await?;
    namespace.delete_object("WorkerPool", "main-idle").await
}

/// Its jobs have nobody else, and its pods no node at first: so they wait for long enough to be seen by the cluster's own autoscaler, which asks through
/// the API server how many pods there should be.
async fn a_pool_without_pods_wakes_for_its_first_jobs_and_grows_with_them(
    namespace: &Namespace,
    client: &ApiClient,
) -> Result<()> {
    kubectl_scale(namespace, "main-cdn", 0).await?;
    let mut pool = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "main-burst"}, "spec": {
        "platformRef": {"name": "main"}, "kind": "cdn", "concurrency": 1, "scaling": {"min": 0, "max": 3, "targetBacklog": 1},
        "podTemplate": {"spec": {"nodeSelector": {"e2e": "nowhere"}}}}});
    namespace.apply(pool.clone()).await?;
    let limit = Duration::from_secs(120);
    let (reason, _) = namespace.wait("WorkerPool", "main-burst", "Ready", "True", limit).await?;
    ensure!(reason == "ScaledToZero", "{reason}");

    let jobs = grows_with_its_jobs(namespace, client, "main-burst", "main-burst", 3, limit).await?;
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
        let ended = client.ended(&job, ANALYSIS).await?;
        ensure!(ended["state"] == "completed", "{ended}");
    }
    namespace.wait("WorkerPool", "main-burst", "Autoscaling", "True", limit).await?;
    namespace.delete_object("WorkerPool", "main-burst").await?;
    kubectl_scale(namespace, "main-cdn", 1).await
}

/// Pools grow, the API is autoscaled up and down and all pods are made anew, under load: no role ever has more connections than its row, none is turned
/// away, and every caller is served.
async fn connections_stay_within_their_rows_while_everything_moves(
    platform: &Platform,
    client: &ApiClient,
) -> Result<()> {
    let namespace = &platform.namespace;
    let object = namespace.get("AnalyticsPlatform", "main").await?;
    let rows: Vec<(String, i64)> = object["status"]["connections"]
        .as_array()
        .context("rows")?
        .iter()
        .map(|row| {
            (
                row["role"].as_str().unwrap_or_default().to_owned(),
                row["size"].as_i64().unwrap_or(0) + row["overflow"].as_i64().unwrap_or(0),
            )
        })
        .collect();
    let connections = Connections::watch(namespace, &platform.name).await?;
    let callers = Callers::of(client, "/v1/usage")?;

    for pool in ["main-general", "main-cdn", "main-ai"] {
        kubectl_scale(namespace, pool, 2).await?;
    }
    let mut jobs = Vec::new();
    for at in 0..8 {
        jobs.push(client.submit(&format!("moves-{at}")).await?);
    }
    // Other waits between attempts are another configuration: it is set up again, and every pod is made anew.
    let mut spec = object["spec"].clone();
    spec["retry"] = json!({"delays": ["61s", "120s", "300s"]});
    spec["api"] = json!({"scaling": {"min": 2, "max": 3, "targetCpu": 1}});
    namespace.apply(json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "main"}, "spec": spec})).await?;
    patiently(Duration::from_secs(300), "everything is made anew", || async {
        let (reason, message) =
            namespace.wait("AnalyticsPlatform", "main", "Reconciling", "False", Duration::from_secs(1)).await?;
        ensure!(reason == "UpToDate", "{reason}: {message}");
        let api = namespace.get("Deployment", "main-api").await?;
        ensure!(api["status"]["readyReplicas"].as_i64() >= Some(2), "{}", api["status"]);
        Ok(())
    })
    .await?;
    for job in jobs {
        let ended = client.ended(&job, ANALYSIS).await?;
        ensure!(ended["state"] == "completed", "{ended}");
    }
    let most = connections.most().await?;
    for (role, row) in &rows {
        let held = most.get(role).copied().unwrap_or(0);
        println!("{role}: {held} connections at most, of {row}");
        ensure!(held <= *row, "{role} had {held} connections of {row}");
    }
    ensure!(most.values().any(|held| *held > 0), "nobody was connected: {most:?}");
    ensure!(
        !connections.log(namespace, &platform.name).await?.contains("too many connections"),
        "somebody was turned away"
    );

    for pool in ["main-general", "main-cdn", "main-ai"] {
        kubectl_scale(namespace, pool, 1).await?;
    }
    let mut spec = object["spec"].clone();
    spec["retry"] = json!({"delays": ["61s", "120s", "300s"]});
    namespace.apply(json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "main"}, "spec": spec})).await?;
    patiently(Duration::from_secs(120), "the API has one pod again", || async {
        let api = namespace.get("Deployment", "main-api").await?;
        ensure!(api["spec"]["replicas"] == 1 && api["status"]["replicas"] == 1, "{}", api["status"]);
        Ok(())
    })
    .await?;
    // The last pod of those that go serves on for some seconds, until nobody is led to it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("{} callers were served meanwhile", callers.all_were_served().await?);
    Ok(())
}

/// Its rights are enough for all that it did.
async fn the_operator_was_refused_nothing(namespace: &Namespace) -> Result<()> {
    use k8s_openapi::api::core::v1::Pod;
    let pods = kube::Api::<Pod>::namespaced(namespace.cluster.client.clone(), "switchyard-system");
    let list =
        pods.list(&kube::api::ListParams::default().labels("app.kubernetes.io/name=switchyard-operator")).await?;
    ensure!(!list.items.is_empty(), "no operator");
    for pod in list {
        let log = pods.logs(pod.metadata.name.as_deref().unwrap_or_default(), &Default::default()).await?;
        let refused: Vec<&str> =
            log.lines().filter(|line| line.contains("orbidden") && !line.contains("being terminated")).collect();
        ensure!(refused.is_empty(), "{refused:#?}");
    }
    Ok(())
}

async fn a_settled_platform_is_not_written_to(namespace: &Namespace) -> Result<()> {
    namespace.wait("AnalyticsPlatform", "main", "Ready", "True", Duration::from_secs(60)).await?;
    // Two pictures that agree mean that it has settled; from there a touched platform must reconcile without a write to anything.
    let settled = patiently(Duration::from_secs(90), "the platform settles", || async {
        let first = namespace.made(MADE).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        ensure!(first == namespace.made(MADE).await?, "still moving");
        Ok(first)
    })
    .await?;
    let mark = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform",
        "metadata": {"name": "main", "annotations": {"e2e": "touched"}}});
    let touched = kube::api::PatchParams::apply("e2e-touch");
    namespace.api("AnalyticsPlatform").patch("main", &touched, &kube::api::Patch::Apply(&mark)).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let but_the_platform =
        |list: Vec<String>| list.into_iter().filter(|o| !o.starts_with("AnalyticsPlatform/")).collect::<Vec<_>>();
    let (before, after) = (but_the_platform(settled), but_the_platform(namespace.made(MADE).await?));
    ensure!(before == after, "a second reconcile wrote:\n{before:#?}\n{after:#?}");
    Ok(())
}

/// Of what is there already nothing; of another lane what is rolled out with it; and nothing of it is done.
async fn a_plan_tells_what_would_change(namespace: &Namespace) -> Result<()> {
    let live = namespace.get("AnalyticsPlatform", "main").await?;
    let plan = async |spec: Value| -> Result<(Option<i32>, String)> {
        let object =
            json!({"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": {"name": "main"}, "spec": spec});
        let program = std::env::var("SWITCHYARD_E2E_PLAN").context("SWITCHYARD_E2E_PLAN names the program")?;
        let mut child = tokio::process::Command::new(program)
            .args(["plan", "--exit-code", "-n", &namespace.name, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("a pipe")?.write_all(object.to_string().as_bytes()).await?;
        let ran = child.wait_with_output().await?;
        Ok((
            ran.status.code(),
            [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat(),
        ))
    };
    let (code, text) = plan(live["spec"].clone()).await?;
    ensure!(code == Some(0), "{code:?}: {text}");
    let mut changed = live["spec"].clone();
    changed["lanes"]["low"]["maxRunning"] = json!(3);
    let (code, text) = plan(changed).await?;
    ensure!(code == Some(2) && text.contains("ConfigMap/main-api"), "{code:?}: {text}");
    ensure!(namespace.get("AnalyticsPlatform", "main").await?["spec"] == live["spec"], "planning changed the platform");
    Ok(())
}

/// Network policies and the API's autoscaler come and go with the fields that ask for them.
async fn what_is_no_longer_wanted_goes(namespace: &Namespace) -> Result<()> {
    let platform = namespace.get("AnalyticsPlatform", "main").await?;
    let count = |kind: &'static str| async move { Ok::<_, anyhow::Error>(namespace.made(&[kind]).await?.len()) };
    ensure!(count("NetworkPolicy").await? > 0, "no network policies");
    ensure!(count("HorizontalPodAutoscaler").await? == 0, "an autoscaler that nobody asked for");
    let spec = |changes: Value| {
        let mut spec = platform["spec"].clone();
        spec.as_object_mut().expect("a spec").extend(changes.as_object().expect("fields").clone());
        json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "main"}, "spec": spec})
    };
    let becomes = |policies: bool, autoscalers: usize| async move {
        patiently(Duration::from_secs(60), "policies and autoscaler are as the spec says", || async {
            let (found, scalers) = (count("NetworkPolicy").await?, count("HorizontalPodAutoscaler").await?);
            ensure!((found > 0) == policies && scalers == autoscalers, "{found} policies, {scalers} autoscalers");
            Ok(())
        })
        .await
    };
    namespace.apply(spec(json!({"networkPolicies": false, "api": {"scaling": {"min": 1, "max": 2}}}))).await?;
    becomes(false, 1).await?;
    namespace.apply(spec(json!({}))).await?;
    becomes(true, 0).await?;
    namespace.wait("AnalyticsPlatform", "main", "Ready", "True", Duration::from_secs(60)).await?;
    let api = namespace.get("Deployment", "main-api").await?;
    ensure!(api["spec"]["replicas"] == 1, "{}", api["spec"]["replicas"]);
    Ok(())
}

async fn deletion_leaves_nothing(namespace: &Namespace) -> Result<()> {
    namespace.delete_object("AnalyticsPlatform", "main").await?;
    patiently(Duration::from_secs(120), "everything of the platform goes", || async {
        let left = namespace.made(MADE).await?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
    .await
}
