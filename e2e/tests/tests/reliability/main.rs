//! What happens to users, and who hears of it, while parts of a platform are broken one after the other: the table of docs/reliability.md.
//!
//! Alerts are as they are for users, so that this takes most of an hour: `make reliability`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use switchyard_e2e::{ApiClient, Cluster, Namespace, Pace, Platform, Prometheus, profile_source};
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(600);
/// A score below this is trouble that was noticed.
const NOTICED: u64 = 80;

/// One call as its caller saw it.
struct Call {
    at: Instant,
    took: Duration,
    ok: bool,
}

/// Callers that go on whatever happens: an analysis a second, and ten reads.
struct Load {
    calls: Arc<Mutex<Vec<Call>>>,
    jobs: Arc<Mutex<Vec<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    fn begin(client: &ApiClient, scenario: &'static str, garbage: bool) -> Result<Self> {
        let (calls, jobs) = (Arc::<Mutex<Vec<Call>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        // As behind a load balancer: no connection outlives a call.
        let client = client.reconnecting()?;
        let submit = tokio::spawn({
            let (client, calls, jobs) = (client.clone(), calls.clone(), jobs.clone());
            async move {
                for n in 0.. {
                    let prefix = if garbage && n % 2 == 0 { "garbage-" } else { "" };
                    let began = Instant::now();
                    let answer =
                        client.post("/v1/analyses", json!({"username": format!("{prefix}{scenario}-{n}")})).await;
                    let status = answer.as_ref().map_or(0, |answer| answer.status);
                    // A refusal for want of room or quota is an answer like any other.
                    let call = Call { at: began, took: began.elapsed(), ok: [200, 202, 429].contains(&status) };
                    locked(&calls).push(call);
                    if let Some(id) =
                        answer.ok().and_then(|answer| answer.body["job"]["id"].as_str().map(str::to_owned))
                        && prefix.is_empty()
                    {
                        locked(&jobs).push(id);
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        });
        let read = tokio::spawn({
            let calls = calls.clone();
            async move {
                loop {
                    let began = Instant::now();
                    let ok = client.get("/v1/usage").await.is_ok_and(|answer| answer.status == 200);
                    locked(&calls).push(Call { at: began, took: began.elapsed(), ok });
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Ok(Self { calls, jobs, tasks: vec![submit, read] })
    }

    /// Errors among calls, and the slowest of a hundred, between two moments.
    fn seen(&self, from: Instant, to: Instant) -> (usize, usize, Duration) {
        let calls = locked(&self.calls);
        let within: Vec<&Call> = calls.iter().filter(|call| call.at >= from && call.at <= to).collect();
        let mut times: Vec<Duration> = within.iter().map(|call| call.took).collect();
        times.sort();
        let p99 = times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
        (within.iter().filter(|call| !call.ok).count(), within.len(), p99)
    }
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    PodsKilled,
    NodeDrained,
    DatabaseKilled,
    DatabaseAway,
    BrokerAway,
    CacheAway,
    StoreSlow,
    SourceRubbish,
    NetworkCut,
}

use Scenario::{
    BrokerAway, CacheAway, DatabaseAway, DatabaseKilled, NetworkCut, NodeDrained, PodsKilled, SourceRubbish, StoreSlow,
};

impl Scenario {
    const ALL: [Self; 9] = [
        PodsKilled,
        NodeDrained,
        DatabaseKilled,
        DatabaseAway,
        BrokerAway,
        CacheAway,
        StoreSlow,
        SourceRubbish,
        NetworkCut,
    ];

    const fn name(self) -> &'static str {
        match self {
            PodsKilled => "pods-killed",
            NodeDrained => "node-drained",
            DatabaseKilled => "database-killed",
            DatabaseAway => "database-away",
            BrokerAway => "broker-away",
            CacheAway => "cache-away",
            StoreSlow => "store-slow",
            SourceRubbish => "source-rubbish",
            NetworkCut => "network-cut",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            PodsKilled => "a pod of the API or of a worker pool killed every 5 s, for a minute",
            NodeDrained => "the node drained: every pod of the platform evicted, and half a minute later let back",
            DatabaseKilled => "PostgreSQL killed (its pod comes back by itself)",
            DatabaseAway => "PostgreSQL away for 3 min",
            BrokerAway => "RabbitMQ away for 5 min",
            CacheAway => "Redis away for 2 min",
            StoreSlow => "the S3 server stopped for 3 s of every 4, for 2 min",
            SourceRubbish => "every second profile from the source is no JSON, for 2 min",
            NetworkCut => "no packet from the general worker to PostgreSQL, for 2 min",
        }
    }

    const fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            PodsKilled | DatabaseKilled => 60,
            NodeDrained => 30,
            DatabaseAway => 180,
            BrokerAway => 300,
            CacheAway | StoreSlow | SourceRubbish | NetworkCut => 120,
        })
    }
}

/// A platform that is broken and mended.
struct Ground {
    namespace: Namespace,
    admin: ApiClient,
    client: ApiClient,
    tenant: String,
    prometheus: Prometheus,
}

impl Ground {
    async fn kill(&self, pod: &str) -> Result<()> {
        self.namespace.api("Pod").delete(pod, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// Processes of a pod whose command line holds `words`.
    async fn processes(&self, pod: &str, words: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for id in self.namespace.processes(pod).await? {
            let line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            if line.replace('\0', " ").contains(words) {
                found.push(id.to_string());
            }
        }
        ensure!(!found.is_empty(), "no process '{words}' in {pod}");
        Ok(found)
    }

    /// Breaks it for as long as the scenario lasts, and mends it.
    async fn break_and_mend(&self, scenario: Scenario) -> Result<()> {
        let end = Instant::now() + scenario.lasts();
        let server = |component: &str| format!("main-{component}");
        match scenario {
            PodsKilled => {
                for n in 0.. {
                    if Instant::now() >= end {
                        break;
                    }
                    let pods = self.namespace.pods("app.kubernetes.io/component in (api,worker)").await?;
                    if let Some(pod) = pods.get(n % pods.len().max(1)) {
                        self.kill(pod).await?;
                    }
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
            NodeDrained => {
                kubectl(&["cordon", "--all"])?;
                for pod in self.namespace.pods("switchyard.dev/platform=main").await? {
                    self.namespace.api("Pod").delete(&pod, &DeleteParams::default()).await?;
                }
                tokio::time::sleep_until(end.into()).await;
                kubectl(&["uncordon", "--all"])?;
            }
            DatabaseKilled => {
                self.kill("main-postgresql-0").await?;
                tokio::time::sleep_until(end.into()).await;
            }
            DatabaseAway | BrokerAway | CacheAway => {
                let name = server(match scenario {
                    DatabaseAway => "postgresql",
                    BrokerAway => "rabbitmq",
                    _ => "redis",
                });
                self.namespace.scale("StatefulSet", &name, 0).await?;
                tokio::time::sleep_until(end.into()).await;
                self.namespace.scale("StatefulSet", &name, 1).await?;
            }
            StoreSlow => {
                let processes = self.processes("main-s3-0", "versitygw").await?;
                let signal = |signal: &str| {
                    run(
                        "kill",
                        &[&[signal], processes.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat(),
                    )
                };
                while Instant::now() < end {
                    signal("-STOP")?;
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    signal("-CONT")?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            // It is the callers who ask for such profiles.
            SourceRubbish => tokio::time::sleep_until(end.into()).await,
            NetworkCut => {
                let pods = self.namespace.pods("switchyard.dev/kind=general").await?;
                let pod = pods.first().context("a general worker")?;
                let process = self.processes(pod, "switchyard-worker").await?.remove(0);
                let service = self.namespace.get("Service", "main-postgresql").await?;
                let address = format!("{}/32", service["spec"]["clusterIP"].as_str().context("clusterIP")?);
                let route =
                    |verb: &str| run("nsenter", &["-t", &process, "-n", "ip", "route", verb, "blackhole", &address]);
                route("add")?;
                tokio::time::sleep_until(end.into()).await;
                route("del")?;
            }
        }
        Ok(())
    }

    async fn score(&self) -> u64 {
        let answer = self.admin.get("/admin/v1/health").await;
        answer.ok().and_then(|answer| answer.body["score"].as_u64()).unwrap_or(0)
    }

    /// Critical and warning alerts of the platform that fire.
    async fn alerts(&self) -> Result<Vec<String>> {
        let firing = self.prometheus.firing().await?;
        let mut names: Vec<String> =
            firing.into_iter().map(|(name, _)| name.trim_start_matches('~').to_owned()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn kubectl(arguments: &[&str]) -> Result<()> {
    let program = std::env::var("SWITCHYARD_E2E_KUBECTL").context("SWITCHYARD_E2E_KUBECTL")?;
    // The tool's nodes are named one by one.
    let nodes = Command::new(&program).args(["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]).output()?;
    let nodes = String::from_utf8(nodes.stdout)?;
    for node in nodes.split_whitespace() {
        run(&program, &[arguments[0], node])?;
    }
    Ok(())
}

fn seconds(of: Option<Duration>) -> String {
    of.map_or_else(|| "–".to_owned(), |of| format!("{:.0} s", of.as_secs_f64()))
}

/// Breaks one thing, and tells its row of the table.
async fn row(ground: &Ground, scenario: Scenario) -> Result<String> {
    let load = Load::begin(&ground.client, scenario.name(), scenario == SourceRubbish)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before: Vec<String> = ground.alerts().await?;
    let began = Instant::now();
    let (mut noticed, mut alerted, mut named) = (None, None, BTreeMap::<String, Duration>::new());
    let broken = ground.break_and_mend(scenario);
    tokio::pin!(broken);
    let mut mended = None;
    let mut recovered = None;
    // While it is broken, and until all is well again.
    while recovered.is_none() {
        tokio::select! {
            result = &mut broken, if mended.is_none() => {
                result?;
                mended = Some(Instant::now());
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if noticed.is_none() && ground.score().await < NOTICED {
            noticed = Some(began.elapsed());
        }
        for alert in ground.alerts().await?.into_iter().filter(|alert| !before.contains(alert)) {
            alerted.get_or_insert(began.elapsed());
            named.entry(alert).or_insert_with(|| began.elapsed());
        }
        if let Some(at) = mended
            && ground.score().await >= NOTICED
            && let Ok(Ok(answer)) = tokio::time::timeout(
                Duration::from_secs(5),
                ground.client.post(
                    "/v1/analyses",
                    json!({"username": format!("{}-after", scenario.name()), "force_refresh": true}),
                ),
            )
            .await
            && let Some(job) = answer.body["job"]["id"].as_str()
        {
            ground.client.ended(job, LIMIT).await?;
            recovered = Some(at.elapsed());
        }
        ensure!(began.elapsed() < scenario.lasts() + LIMIT, "{} is not over", scenario.name());
    }
    let (errors, calls, p99) = load.seen(began, Instant::now());
    let jobs = locked(&load.jobs).clone();
    drop(load);
    let mut lost = 0;
    for job in &jobs {
        let ended = ground.client.ended(job, LIMIT).await.with_context(|| format!("{} {job}", scenario.name()))?;
        lost += usize::from(ended["state"] != "completed");
    }
    ensure!(lost == 0, "{}: {lost} accepted analyses did not complete", scenario.name());
    let report = ground.admin.get(&format!("/admin/v1/tenants/{}", ground.tenant)).await?.expect(200)?;
    ensure!(report["credits"] == report["ledger_sum"], "{report}");
    let alerts: Vec<String> = named
        .iter()
        .map(|(name, after)| format!("{} {:.0} s", name.trim_start_matches("Switchyard"), after.as_secs_f64()))
        .collect();
    let row = format!(
        "| {} | {errors} of {calls} ({:.1} %) | {:.0} ms | {} | {} | {} | {lost} of {} | {} |",
        scenario.words(),
        100.0 * errors as f64 / calls.max(1) as f64,
        p99.as_secs_f64() * 1000.0,
        seconds(noticed),
        seconds(alerted),
        seconds(recovered),
        jobs.len(),
        if alerts.is_empty() { "–".to_owned() } else { alerts.join(", ") },
    );
    println!("{row}");
    Ok(row)
}

#[tokio::test]
#[ignore = "takes most of an hour: make reliability"]
async fn what_users_see_and_who_hears_of_it_while_parts_are_broken() -> Result<()> {
    let chosen = std::env::var("RELIABILITY").unwrap_or_default();
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("reliability").await?;
    let source = profile_source(&namespace).await?;
    let mut spec = json!({
        "environment": "development", "profileSource": source, "monitoring": {"interval": "5s"},
        "api": {"replicas": 2},
        "retry": {"delays": ["5s", "10s", "20s", "40s", "60s", "60s"]},
        "tiers": {"enterprise": {"concurrent": 1000, "lane": "normal"}},
    });
    let platform = Platform::ready(&namespace, "main", spec.clone()).await?;
    let admin = platform.admin().await?;
    let (tenant, client) = admin.tenant("enterprise", 1_000_000).await?;
    let (monitor, rule) = namespace.monitored("main").await?;
    let receivers = concat!(env!("CARGO_MANIFEST_DIR"), "/../../monitoring/alertmanager.yaml");
    let prometheus = Prometheus::start(&cluster, &monitor, &rule, &fs::read_to_string(receivers)?, Pace::Real).await?;
    // What is broken on purpose is not the operator's to mend; what breaks by that is Kubernetes' and the workloads'.
    spec["paused"] = json!(true);
    namespace.apply(manifest(&spec)).await?;
    let ground = Ground { namespace: namespace.clone(), admin, client, tenant, prometheus };
    let mut table = "| what | errors that callers saw | p99 | noticed (score < 80) | first alert | recovered after | lost | alerts, after |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for scenario in Scenario::ALL {
        if chosen.is_empty() || chosen.split(',').any(|name| name == scenario.name()) {
            writeln!(table, "{}", row(&ground, scenario).await?)?;
            if let Ok(path) = std::env::var("RELIABILITY_INTO") {
                fs::write(path, &table)?;
            }
        }
    }
    drop(ground);
    namespace.delete().await
}

fn manifest(spec: &Value) -> Value {
    json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "main"}, "spec": spec})
}
