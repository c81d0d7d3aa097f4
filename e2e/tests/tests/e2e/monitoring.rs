//! Real faults raise and resolve alerts in Prometheus and Alertmanager, and every query of the
//! dashboards returns data.
//!
//! Needs the kinds of the Prometheus operator, and Debian's Prometheus and Alertmanager: `e2e/run`
//! and `e2e/prepare` install them.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use switchyard_e2e::{
    ApiClient, Browser, Cluster, Namespace, Platform, Prometheus, Timing, deploy_profile_source, eventually,
};

const LIMIT: Duration = Duration::from_mins(2);

fn file(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A caller that repeats a call until it is dropped.
struct Caller(tokio::task::JoinHandle<()>);

impl Caller {
    fn start(client: &ApiClient, pause: Duration) -> Self {
        let client = client.clone();
        Self(tokio::spawn(async move {
            loop {
                let _ = client.get("/v1/usage").await;
                tokio::time::sleep(pause).await;
            }
        }))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one test with steps, because starting a platform takes most of the time")]
async fn real_faults_raise_and_resolve_alerts_and_dashboards_have_data() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.create_namespace("watched").await?;
    let source = deploy_profile_source(&namespace).await?;
    let mut spec = json!({
        "environment": "development", "profileSource": source,
        "monitoring": {"labels": {"team": "e2e"}, "interval": "2s", "alerts": {
            "queue": {"warning": 1, "critical": 2}, "latency": {"warning": "1s", "critical": "2s"}, "memory": {"warning": 60, "critical": 70},
        }},
        "api": {"resources": {"requests": {"memory": "16Mi"}, "limits": {"cpu": "250m", "memory": "256Mi"}}},
    });
    let platform = Platform::ready(&namespace, "main", spec.clone()).await?;
    let admin = platform.admin().await?;
    let (tenant, client) = admin.create_tenant("standard", 1000).await?;

    let (monitor, rule) = namespace.monitoring_objects("main").await?;
    ensure!(monitor["metadata"]["labels"]["team"] == "e2e", "{monitor}");
    let prometheus =
        Prometheus::start(&cluster, &monitor, &rule, &file("monitoring/alertmanager.yaml")?, Timing::Shortened).await?;

    let expected = BTreeSet::from(["api", "main-ai", "main-cdn", "main-discovery", "main-general"].map(str::to_owned));
    eventually(LIMIT, "every workload is scraped", || async {
        let up = prometheus.query("up{platform=\"main\"} == 1").await?;
        let seen: BTreeSet<String> =
            up.iter().filter_map(|series| series["metric"]["workload"].as_str().map(str::to_owned)).collect();
        ensure!(seen == expected, "{seen:?}");
        Ok(())
    })
    .await?;

    // The memory limit of the API is too low.
    let held = prometheus.query("max(process_resident_memory_bytes{workload=\"api\"})").await?;
    let held: f64 = held[0]["value"][1].as_str().context("no memory")?.parse()?;
    for (limit, fires) in [(format!("{:.0}", held / 0.8), true), ("256Mi".to_owned(), false)] {
        spec["api"]["resources"]["limits"]["memory"] = json!(limit);
        platform.apply(&spec).await?;
        wait_for_both_levels(&prometheus, "SwitchyardMemoryHigh", fires).await?;
    }

    // Work of every kind for the dashboards: an analysis with all images, one with missing images,
    // and one from the cache.
    let jobs = [client.submit("watched").await?, client.submit("noimage-watched").await?];
    for job in &jobs {
        client.wait_until_finished(job, LIMIT).await?;
    }
    let cached = client.post("/v1/analyses", json!({"username": "watched"})).await?;
    ensure!(cached.status == 200, "{cached:?}");
    {
        let _callers = Caller::start(&client, Duration::from_millis(200));
        check_dashboards(&prometheus, &namespace.name).await?;
    }

    let mut unseen = FaultQueries::new(&namespace.name)?;
    let (_, poor) = admin.create_tenant("free", 0).await?;
    poor.post("/v1/analyses", json!({"username": "too-poor"})).await?.expect(402)?;

    // Dead jobs. The alert is resolved when its window of half a minute has passed.
    for n in 0..4 {
        let dead = client.submit(&format!("missing-watched-{n}")).await?;
        client.wait_until_finished(&dead, LIMIT).await?;
    }
    prometheus.wait_for_alert("SwitchyardDeadLetters", "warning", true, LIMIT).await?;
    unseen.run(&prometheus).await?;
    prometheus.wait_for_alert("SwitchyardDeadLetters", "warning", false, LIMIT).await?;

    // The operator must not repair the following faults.
    spec["paused"] = json!(true);
    platform.apply(&spec).await?;
    namespace.wait_for_condition("AnalyticsPlatform", "main", "Reconciling", "False", LIMIT).await?;

    // A paused lane, in which jobs wait.
    admin.post("/admin/v1/lanes/general/normal/pause", json!({})).await?.expect(200)?;
    let mut waiting = Vec::new();
    for name in ["waits-one", "waits-two", "waits-three"] {
        waiting.push(client.submit(name).await?);
    }
    prometheus.wait_for_alert("SwitchyardLanePaused", "warning", true, LIMIT).await?;
    wait_for_both_levels(&prometheus, "SwitchyardQueueLong", true).await?;
    prometheus.wait_for_notification(&["SwitchyardQueueLong.md", &namespace.name], LIMIT).await?;
    {
        let _watcher = client.watch_events(&waiting[0], None).await?;
        eventually(LIMIT, "a watcher is counted", || async {
            let watchers = prometheus.query("max(switchyard_api_watchers)").await?;
            ensure!(watchers.iter().any(|series| series["value"][1] != "0"), "{watchers:?}");
            Ok(())
        })
        .await?;
        unseen.run(&prometheus).await?;
    }
    admin.post("/admin/v1/lanes/general/normal/resume", json!({})).await?.expect(200)?;
    for job in &waiting {
        client.wait_until_finished(job, LIMIT).await?;
    }
    wait_for_both_levels(&prometheus, "SwitchyardQueueLong", false).await?;
    prometheus.wait_for_alert("SwitchyardLanePaused", "warning", false, LIMIT).await?;
    prometheus.wait_for_notification(&["Over: ", &namespace.name], LIMIT).await?;

    // A locked tenant row: calls succeed, but slowly.
    let lock = lock_tenant(&namespace, &tenant).await?;
    let slow: Vec<_> = (0..12)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                client.post("/v1/analyses", json!({"username": format!("slow-{n}"), "force_refresh": true})).await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(lock);
    for call in slow {
        let status = call.await??.status;
        ensure!([202, 429].contains(&status), "{status}");
    }
    wait_for_both_levels(&prometheus, "SwitchyardApiSlow", true).await?;
    wait_for_both_levels(&prometheus, "SwitchyardApiSlow", false).await?;

    // More calls than a quarter of a core can serve.
    {
        let _callers: Vec<Caller> = (0..8).map(|_| Caller::start(&client, Duration::ZERO)).collect();
        wait_for_both_levels(&prometheus, "SwitchyardCpuHigh", true).await?;
    }
    wait_for_both_levels(&prometheus, "SwitchyardCpuHigh", false).await?;

    // Broker down: the API accepts analyses, and none runs.
    namespace.scale("StatefulSet", "main-rabbitmq", 0).await?;
    prometheus.wait_for_alert("SwitchyardBrokerDisconnected", "critical", true, LIMIT).await?;
    let while_away = client.submit("while-away").await?;
    namespace.scale("StatefulSet", "main-rabbitmq", 1).await?;
    prometheus.wait_for_alert("SwitchyardBrokerDisconnected", "critical", false, LIMIT).await?;
    ensure!(client.wait_until_finished(&while_away, LIMIT).await?["state"] == "completed");

    // No workers of a kind that has jobs.
    namespace.scale("Deployment", "main-ai", 0).await?;
    let unread = client.submit("unread").await?;
    prometheus.wait_for_alert("SwitchyardNoWorkers", "critical", true, LIMIT).await?;
    namespace.scale("Deployment", "main-ai", 1).await?;
    prometheus.wait_for_alert("SwitchyardNoWorkers", "critical", false, LIMIT).await?;
    ensure!(client.wait_until_finished(&unread, LIMIT).await?["state"] == "completed");

    // Database down: calls fail and use up the error budget.
    {
        let _callers: Vec<Caller> = (0..4).map(|_| Caller::start(&client, Duration::from_millis(50))).collect();
        namespace.scale("StatefulSet", "main-postgresql", 0).await?;
        prometheus.wait_for_alert("SwitchyardDatabaseBreakerOpen", "critical", true, LIMIT).await?;
        prometheus.wait_for_alert("SwitchyardApiErrors", "critical", true, LIMIT).await?;
        prometheus.wait_for_alert("SwitchyardErrorBudgetBurn", "critical", true, LIMIT).await?;
        unseen.run(&prometheus).await?;
        // Alerts about its consequences are inhibited.
        eventually(LIMIT, "SwitchyardApiErrors is inhibited", || async {
            let firing = prometheus.firing().await?;
            ensure!(firing.iter().any(|(name, _)| name == "~SwitchyardApiErrors"), "{firing:?}");
            Ok(())
        })
        .await?;
        namespace.scale("StatefulSet", "main-postgresql", 1).await?;
        prometheus.wait_for_alert("SwitchyardDatabaseBreakerOpen", "critical", false, LIMIT).await?;
        prometheus.wait_for_alert("SwitchyardApiErrors", "critical", false, LIMIT).await?;
    }
    prometheus.wait_for_alert("SwitchyardErrorBudgetBurn", "critical", false, LIMIT).await?;

    // API down.
    namespace.scale("Deployment", "main-api", 0).await?;
    prometheus.wait_for_alert("SwitchyardApiNotScraped", "warning", true, LIMIT).await?;
    namespace.scale("Deployment", "main-api", 1).await?;
    prometheus.wait_for_alert("SwitchyardApiNotScraped", "warning", false, LIMIT).await?;

    unseen.expect_none()?;
    draw_queries(&prometheus).await?;
    drop(prometheus);
    namespace.delete().await
}

/// Waits until both levels of an alert fire or, with `fires` false, until both are resolved.
async fn wait_for_both_levels(prometheus: &Prometheus, alert: &str, fires: bool) -> Result<()> {
    prometheus.wait_for_alert(alert, "warning", fires, LIMIT).await?;
    prometheus.wait_for_alert(alert, "critical", fires, LIMIT).await
}

/// Saves screenshots of two queries for the documentation.
async fn draw_queries(prometheus: &Prometheus) -> Result<()> {
    if std::env::var("SWITCHYARD_SCREENSHOTS").is_err() {
        return Ok(());
    }
    let browser = Browser::start("light").await?;
    let drawn = async {
        for (name, query) in [
            ("queries-lanes", "sum by (state) (platform_kind_lane_state:switchyard_lane_jobs:max)"),
            ("queries-health", "min by (platform) (switchyard_health_score)"),
        ] {
            browser.page.goto(&prometheus.graph_url(query, 8)?).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            browser.screenshot(name).await?;
        }
        anyhow::Ok(())
    }
    .await;
    browser.page.clone().close().await?;
    drawn
}

/// Locks the row of a tenant until the returned client is dropped.
async fn lock_tenant(namespace: &Namespace, tenant: &str) -> Result<tokio_postgres::Client> {
    let client = namespace.connect_database("main").await?;
    let lock = format!("begin; select from switchyard.tenants where id = '{tenant}' for update");
    client.batch_execute(&lock).await?;
    Ok(client)
}

/// The lines of a file with one query a line.
fn queries_of(path: &str) -> Result<BTreeSet<String>> {
    let text = file(path)?;
    Ok(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

/// A query of a dashboard with Grafana's variables replaced.
fn filled(expr: &str, namespace: &str) -> String {
    expr.replace("$__rate_interval", "30s")
        .replace("$__range", "5m")
        .replace("$__interval", "30s")
        .replace("$namespace", namespace)
        .replace("$platform", "main")
}

/// The queries of `e2e/tests/data-after-faults.txt` that have returned nothing so far.
struct FaultQueries {
    namespace: String,
    unseen: BTreeSet<String>,
}

impl FaultQueries {
    fn new(namespace: &str) -> Result<Self> {
        Ok(Self { namespace: namespace.to_owned(), unseen: queries_of("e2e/tests/data-after-faults.txt")? })
    }

    /// Runs the queries, during a fault.
    async fn run(&mut self, prometheus: &Prometheus) -> Result<()> {
        for query in std::mem::take(&mut self.unseen) {
            if prometheus.query(&filled(&query, &self.namespace)).await?.is_empty() {
                self.unseen.insert(query);
            }
        }
        Ok(())
    }

    fn expect_none(&self) -> Result<()> {
        ensure!(self.unseen.is_empty(), "queries without data during any fault: {:#?}", self.unseen);
        Ok(())
    }
}

/// Runs every query of every dashboard. Only those of `e2e/tests/without-data.txt` and, at this
/// time, of `e2e/tests/data-after-faults.txt` may return nothing.
async fn check_dashboards(prometheus: &Prometheus, namespace: &str) -> Result<()> {
    let mut may_be_empty = queries_of("e2e/tests/without-data.txt")?;
    may_be_empty.extend(queries_of("e2e/tests/data-after-faults.txt")?);
    let mut empty = BTreeSet::new();
    let mut queries = 0;
    for name in ["overview", "api", "lanes", "workers", "ai", "connections", "tenants", "operator"] {
        let dashboard: Value =
            serde_json::from_str(&file(&format!("charts/switchyard/files/dashboards/{name}.json"))?)?;
        let panels = dashboard["panels"].as_array().context("panels")?;
        let nested = panels.iter().flat_map(|panel| panel["panels"].as_array().into_iter().flatten());
        for panel in panels.iter().chain(nested) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let Some(expr) = target["expr"].as_str() else { continue };
                let query = filled(expr, namespace);
                queries += 1;
                let mut found = prometheus.query(&query).await?;
                for _ in 0..40 {
                    if !found.is_empty() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(if may_be_empty.contains(expr) { 0 } else { 1000 })).await;
                    found = prometheus.query(&query).await?;
                }
                if found.is_empty() {
                    empty.insert(expr.to_owned());
                }
            }
        }
    }
    ensure!(queries > 50, "{queries} queries");
    let unexpected: Vec<_> = empty.difference(&may_be_empty).collect();
    ensure!(unexpected.is_empty(), "queries without data: {unexpected:#?}");
    println!("{queries} queries of dashboards, {} of them without data", empty.len());
    Ok(())
}
