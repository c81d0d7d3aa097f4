//! Alerts fire and end in a real Prometheus and Alertmanager, by real faults, and every query of the dashboards finds what it is about.
//!
//! Needs the kinds of the Prometheus operator, and Debian's Prometheus and Alertmanager: `e2e/run` and `e2e/prepare` see to them.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use switchyard_e2e::{ApiClient, Browser, Cluster, Namespace, Pace, Platform, Prometheus, patiently, profile_source};

const LIMIT: Duration = Duration::from_secs(120);

fn file(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Calls that are made until it is dropped.
struct Calls(tokio::task::JoinHandle<()>);

impl Calls {
    fn make(client: &ApiClient, pause: Duration) -> Self {
        let client = client.clone();
        Self(tokio::spawn(async move {
            loop {
                let _ = client.get("/v1/usage").await;
                tokio::time::sleep(pause).await;
            }
        }))
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn real_faults_are_alerted_and_end_and_dashboards_find_their_data() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("watched").await?;
    let source = profile_source(&namespace).await?;
    let mut spec = json!({
        "environment": "development", "profileSource": source,
        "monitoring": {"labels": {"team": "e2e"}, "interval": "2s", "alerts": {
            "queue": {"warning": 1, "critical": 2}, "latency": {"warning": "1s", "critical": "2s"}, "memory": {"warning": 60, "critical": 70},
        }},
        "api": {"resources": {"requests": {"memory": "16Mi"}, "limits": {"cpu": "250m", "memory": "256Mi"}}},
    });
    let platform = Platform::ready(&namespace, "main", spec.clone()).await?;
    let admin = platform.admin().await?;
    let (tenant, client) = admin.tenant("standard", 1000).await?;

    let (monitor, rule) = namespace.monitored("main").await?;
    ensure!(monitor["metadata"]["labels"]["team"] == "e2e", "{monitor}");
    let prometheus =
        Prometheus::start(&cluster, &monitor, &rule, &file("monitoring/alertmanager.yaml")?, Pace::Hurried).await?;

    let expected = BTreeSet::from(["api", "main-ai", "main-cdn", "main-discovery", "main-general"].map(str::to_owned));
    patiently(LIMIT, "every workload is scraped", || async {
        let up = prometheus.query("up{platform=\"main\"} == 1").await?;
        let seen: BTreeSet<String> =
            up.iter().filter_map(|series| series["metric"]["workload"].as_str().map(str::to_owned)).collect();
        ensure!(seen == expected, "{seen:?}");
        Ok(())
    })
    .await?;

    // Somebody gives the API less memory than it needs.
    let held = prometheus.query("max(process_resident_memory_bytes{workload=\"api\"})").await?;
    let held: f64 = held[0]["value"][1].as_str().context("no memory")?.parse()?;
    for (limit, fires) in [(format!("{:.0}", held / 0.8), true), ("256Mi".to_owned(), false)] {
        spec["api"]["resources"]["limits"]["memory"] = json!(limit);
        platform.apply(&spec).await?;
        both(&prometheus, "SwitchyardMemoryHigh", fires).await?;
    }

    // Work of every sort, for the dashboards: analyses with images and posts, one that dies, one that comes from the cache.
    let jobs = [client.submit("watched").await?, client.submit("noimage-watched").await?];
    for job in &jobs {
        client.ended(job, LIMIT).await?;
    }
    let cached = client.post("/v1/analyses", json!({"username": "watched"})).await?;
    ensure!(cached.status == 200, "{cached:?}");
    {
        let _calls = Calls::make(&client, Duration::from_millis(200));
        dashboards(&prometheus, &namespace.name).await?;
    }

    // Analyses that die; half a minute later they are no news any more.
    for n in 0..4 {
        let dead = client.submit(&format!("missing-watched-{n}")).await?;
        client.ended(&dead, LIMIT).await?;
    }
    prometheus.until("SwitchyardDeadLetters", "warning", true, LIMIT).await?;
    prometheus.until("SwitchyardDeadLetters", "warning", false, LIMIT).await?;

    // From here on the operator keeps its hands off what is broken.
    spec["paused"] = json!(true);
    platform.apply(&spec).await?;
    namespace.wait("AnalyticsPlatform", "main", "Reconciling", "False", LIMIT).await?;

    // A lane that somebody stopped: what comes waits.
    admin.post("/admin/v1/lanes/general/normal/pause", json!({})).await?.expect(200)?;
    let mut waiting = Vec::new();
    for name in ["waits-one", "waits-two", "waits-three"] {
        waiting.push(client.submit(name).await?);
    }
    prometheus.until("SwitchyardLanePaused", "warning", true, LIMIT).await?;
    both(&prometheus, "SwitchyardQueueLong", true).await?;
    prometheus.told(&["SwitchyardQueueLong.md", &namespace.name], LIMIT).await?;
    admin.post("/admin/v1/lanes/general/normal/resume", json!({})).await?.expect(200)?;
    for job in &waiting {
        client.ended(job, LIMIT).await?;
    }
    both(&prometheus, "SwitchyardQueueLong", false).await?;
    prometheus.until("SwitchyardLanePaused", "warning", false, LIMIT).await?;
    prometheus.told(&["Over: ", &namespace.name], LIMIT).await?;

    // A tenant whose row somebody holds: answers are right, and late.
    let lock = locked(&namespace, &tenant).await?;
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
    both(&prometheus, "SwitchyardApiSlow", true).await?;
    both(&prometheus, "SwitchyardApiSlow", false).await?;

    // More calls than a quarter of a core can answer.
    {
        let _calls: Vec<Calls> = (0..8).map(|_| Calls::make(&client, Duration::ZERO)).collect();
        both(&prometheus, "SwitchyardCpuHigh", true).await?;
    }
    both(&prometheus, "SwitchyardCpuHigh", false).await?;

    // The broker goes: nobody is refused, and nothing is worked on.
    namespace.scale("StatefulSet", "main-rabbitmq", 0).await?;
    prometheus.until("SwitchyardBrokerDisconnected", "critical", true, LIMIT).await?;
    let while_away = client.submit("while-away").await?;
    namespace.scale("StatefulSet", "main-rabbitmq", 1).await?;
    prometheus.until("SwitchyardBrokerDisconnected", "critical", false, LIMIT).await?;
    ensure!(client.ended(&while_away, LIMIT).await?["state"] == "completed");

    // Workers of a kind go, with work for them.
    namespace.scale("Deployment", "main-ai", 0).await?;
    let unread = client.submit("unread").await?;
    prometheus.until("SwitchyardNoWorkers", "critical", true, LIMIT).await?;
    namespace.scale("Deployment", "main-ai", 1).await?;
    prometheus.until("SwitchyardNoWorkers", "critical", false, LIMIT).await?;
    ensure!(client.ended(&unread, LIMIT).await?["state"] == "completed");

    // The database goes: callers are refused, and the error budget burns.
    {
        let _calls: Vec<Calls> = (0..4).map(|_| Calls::make(&client, Duration::from_millis(50))).collect();
        namespace.scale("StatefulSet", "main-postgresql", 0).await?;
        prometheus.until("SwitchyardDatabaseBreakerOpen", "critical", true, LIMIT).await?;
        prometheus.until("SwitchyardApiErrors", "critical", true, LIMIT).await?;
        prometheus.until("SwitchyardErrorBudgetBurn", "critical", true, LIMIT).await?;
        // Its consequences are known: one message is enough.
        patiently(LIMIT, "errors are silenced by their cause", || async {
            let firing = prometheus.firing().await?;
            ensure!(firing.iter().any(|(name, _)| name == "~SwitchyardApiErrors"), "{firing:?}");
            Ok(())
        })
        .await?;
        namespace.scale("StatefulSet", "main-postgresql", 1).await?;
        prometheus.until("SwitchyardDatabaseBreakerOpen", "critical", false, LIMIT).await?;
        prometheus.until("SwitchyardApiErrors", "critical", false, LIMIT).await?;
    }
    prometheus.until("SwitchyardErrorBudgetBurn", "critical", false, LIMIT).await?;

    // The API goes.
    namespace.scale("Deployment", "main-api", 0).await?;
    prometheus.until("SwitchyardApiNotScraped", "warning", true, LIMIT).await?;
    namespace.scale("Deployment", "main-api", 1).await?;
    prometheus.until("SwitchyardApiNotScraped", "warning", false, LIMIT).await?;

    pictures(&prometheus).await?;
    drop(prometheus);
    namespace.delete().await
}

/// Waits until both levels of an alert fire, or neither any more.
async fn both(prometheus: &Prometheus, alert: &str, fires: bool) -> Result<()> {
    prometheus.until(alert, "warning", fires, LIMIT).await?;
    prometheus.until(alert, "critical", fires, LIMIT).await
}

/// Draws what happened, for the documentation.
async fn pictures(prometheus: &Prometheus) -> Result<()> {
    if std::env::var("SWITCHYARD_SCREENSHOTS").is_err() {
        return Ok(());
    }
    let browser = Browser::start("light").await?;
    let drawn = async {
        for (name, query) in [
            ("queries-lanes", "sum by (state) (platform_kind_lane_state:switchyard_lane_jobs:max)"),
            ("queries-health", "min by (platform) (switchyard_health_score)"),
        ] {
            browser.page.goto(&prometheus.graph(query, 8)?).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            browser.picture(name).await?;
        }
        anyhow::Ok(())
    }
    .await;
    browser.page.clone().close().await?;
    drawn
}

/// Holds the row of a tenant until it is dropped.
async fn locked(namespace: &Namespace, tenant: &str) -> Result<tokio_postgres::Client> {
    let client = namespace.database("main").await?;
    let lock = format!("begin; select from switchyard.tenants where id = '{tenant}' for update");
    client.batch_execute(&lock).await?;
    Ok(client)
}

/// Runs every query of every dashboard. What there is nothing of here is named.
async fn dashboards(prometheus: &Prometheus, namespace: &str) -> Result<()> {
    // Of what is not there while all is well there is no series.
    let none: BTreeSet<String> = file("e2e/tests/without-data.txt")?
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let mut empty = BTreeSet::new();
    let mut asked = 0;
    for name in ["overview", "api", "lanes", "workers", "ai", "connections", "tenants", "operator"] {
        let dashboard: Value =
            serde_json::from_str(&file(&format!("charts/switchyard/files/dashboards/{name}.json"))?)?;
        let panels = dashboard["panels"].as_array().context("panels")?;
        let nested = panels.iter().flat_map(|panel| panel["panels"].as_array().into_iter().flatten());
        for panel in panels.iter().chain(nested) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let Some(expr) = target["expr"].as_str() else { continue };
                let query = expr
                    .replace("$__rate_interval", "30s")
                    .replace("$__range", "5m")
                    .replace("$__interval", "30s")
                    .replace("$namespace", namespace)
                    .replace("$platform", "main");
                asked += 1;
                let mut found = prometheus.query(&query).await?;
                for _ in 0..40 {
                    if !found.is_empty() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(if none.contains(expr) { 0 } else { 1000 })).await;
                    found = prometheus.query(&query).await?;
                }
                if found.is_empty() {
                    empty.insert(expr.to_owned());
                }
            }
        }
    }
    ensure!(asked > 50, "{asked} queries");
    let unexpected: Vec<_> = empty.difference(&none).collect();
    ensure!(unexpected.is_empty(), "these queries find nothing: {unexpected:#?}");
    println!("{asked} queries of dashboards, {} of them of what there is nothing of here", empty.len());
    Ok(())
}
