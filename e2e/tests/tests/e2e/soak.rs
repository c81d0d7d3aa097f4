//! Memory, connections, tables and latencies stay flat for an hour with a thousand connected
//! clients.
//!
//! Half of the clients read on a persistent connection, the other half wait by WebSocket for jobs
//! of a paused lane. `SOAK_MINUTES` is the duration (60). `SOAK_INTO` is the file for the table of
//! docs/soak.md (`make soak`).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt as _, future::join_all};
use serde_json::{Value, json};
use switchyard_e2e::{ApiClient, Cluster, Namespace, Platform, deploy_profile_source, eventually, lock};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

const LIMIT: Duration = Duration::from_mins(5);
const TENANTS: usize = 10;
/// Number of readers, and number of watchers.
const CLIENTS: usize = 500;
/// Interval between two calls of a reader.
const READ_INTERVAL: Duration = Duration::from_secs(10);
/// Interval between two new analyses.
const SUBMIT_INTERVAL: Duration = Duration::from_secs(2);
/// Retention of finished jobs and events in seconds.
///
/// It is shorter than the test, so that tables have the size of a platform in a steady state.
const RETENTION: f64 = 300.0;
/// The API, four kinds of workers, four bundled services and the operator.
const WORKLOADS: usize = 10;
/// `maxmemory` of the bundled Redis in MiB (images/redis/start).
const REDIS_MAX_MEMORY: f64 = 128.0;
/// Number of measuring windows; the first is for warming up.
const WINDOWS: u32 = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum CallKind {
    Read,
    Submit,
    /// From the submission to the end of the analysis.
    Analysis,
}

/// A measured call or analysis.
struct Call {
    at: Instant,
    took: Duration,
    kind: CallKind,
    error: Option<String>,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// Awaits a call and records its duration and error.
async fn record<T>(calls: &Calls, kind: CallKind, call: impl Future<Output = Result<T>>) -> Option<T> {
    let at = Instant::now();
    let result = call.await;
    let error = result.as_ref().err().map(|error| format!("{error:#}"));
    lock(calls).push(Call { at, took: at.elapsed(), kind, error });
    result.ok()
}

/// Reads the usage, the list of jobs and a job in turn, on one connection.
async fn read_forever(client: ApiClient, job: String, calls: Calls) {
    let paths = ["/v1/usage".to_owned(), "/v1/jobs?limit=20".to_owned(), format!("/v1/jobs/{job}")];
    for path in paths.iter().cycle() {
        record(&calls, CallKind::Read, async { client.get(path).await?.expect(200) }).await;
        tokio::time::sleep(READ_INTERVAL).await;
    }
}

/// Watches a job until it is finished. Returns its final state and the number of reconnects.
async fn watch_until_finished(client: ApiClient, job: String) -> Result<(String, usize)> {
    let mut seen = None;
    for reconnects in 0.. {
        let mut socket = client.watch_events(&job, seen).await?;
        while let Some(message) = socket.next().await {
            let Ok(Message::Text(text)) = message else { continue };
            let event: Value = serde_json::from_str(&text)?;
            seen = event["seq"].as_i64().or(seen);
            if let Some(state @ ("completed" | "dead" | "cancelled")) = event["state"].as_str() {
                return Ok((state.to_owned(), reconnects));
            }
        }
    }
    bail!("the number of reconnects overflowed")
}

/// Submits one analysis after another and watches each until it is finished.
async fn submit_forever(clients: Vec<ApiClient>, calls: Calls) {
    for (n, client) in clients.iter().cycle().enumerate() {
        let (client, calls) = (client.clone(), calls.clone());
        tokio::spawn(async move {
            let name = format!("soak-{n}");
            let begun = Instant::now();
            if let Some(job) = record(&calls, CallKind::Submit, client.submit(&name)).await {
                let error = match tokio::time::timeout(LIMIT, watch_until_finished(client, job)).await {
                    Ok(Ok((state, _))) if state == "completed" => None,
                    Ok(Ok((state, _))) => Some(format!("{name} ended as {state}")),
                    Ok(Err(error)) => Some(format!("{name}: {error:#}")),
                    Err(_) => Some(format!("{name} did not end within {LIMIT:?}")),
                };
                lock(&calls).push(Call { at: begun, took: begun.elapsed(), kind: CallKind::Analysis, error });
            }
        });
        tokio::time::sleep(SUBMIT_INTERVAL).await;
    }
}

/// Resources of a platform at a moment; sizes in MiB.
struct Sample {
    at: Instant,
    memory: BTreeMap<String, f64>,
    connections: f64,
    jobs: f64,
    tables: f64,
    indexes: f64,
    ledger: f64,
}

/// Anonymous memory of a process in MiB.
///
/// It excludes page cache, which the kernel reclaims, and PostgreSQL's shared buffers, which fill
/// up.
fn anonymous_memory(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0.0) / 1024.0
}

/// Adds the memory of each workload of a namespace.
async fn add_memory(namespace: &Namespace, into: &mut BTreeMap<String, f64>) -> Result<()> {
    for pod in namespace.pod_names("").await? {
        let processes = namespace.processes(&pod, "").await?;
        // The workload's part of main-general-5b7c…-x2x9f, main-postgresql-0 or switchyard-….
        let name = pod.trim_start_matches("main-").split('-').next().unwrap_or_default().to_owned();
        *into.entry(name).or_default() += processes.into_iter().map(anonymous_memory).sum::<f64>();
    }
    Ok(())
}

async fn sample(namespace: &Namespace, operator: &Namespace, database: &tokio_postgres::Client) -> Result<Sample> {
    let mut all = BTreeMap::new();
    add_memory(namespace, &mut all).await?;
    add_memory(operator, &mut all).await?;
    all.retain(|name, _| !["apify", "setup"].contains(&name.as_str()));
    let sizes = "select (select count(*) from pg_stat_activity where usename like 'analytics%')::float8,
            (select count(*) from switchyard.jobs)::float8, sum(pg_table_size(oid)) filter (where relname <> 'ledger')::float8 / 1048576,
            sum(pg_indexes_size(oid)) filter (where relname <> 'ledger')::float8 / 1048576,
            sum(pg_total_relation_size(oid)) filter (where relname = 'ledger')::float8 / 1048576
        from pg_class where relnamespace = 'switchyard'::regnamespace and relkind = 'r'";
    let row = database.query_one(sizes, &[]).await?;
    Ok(Sample {
        at: Instant::now(),
        memory: all,
        connections: row.get(0),
        jobs: row.get(1),
        tables: row.get(2),
        indexes: row.get(3),
        ledger: row.get(4),
    })
}

/// The calls of a measuring window, and the peak of each resource. Latencies are p50 and p99.
struct Window {
    calls: usize,
    errors: Vec<String>,
    /// Milliseconds.
    read: [f64; 2],
    /// Milliseconds.
    submit: [f64; 2],
    /// Seconds.
    analysis: [f64; 2],
    analyses: usize,
    peak: Sample,
}

impl Window {
    fn of(calls: &[Call], samples: &[Sample], from: Instant, to: Instant) -> Result<Self> {
        let calls: Vec<&Call> = calls.iter().filter(|call| call.at >= from && call.at < to).collect();
        let quantiles = |kind: CallKind| {
            let mut times: Vec<f64> =
                calls.iter().filter(|call| call.kind == kind).map(|call| call.took.as_secs_f64()).collect();
            times.sort_by(f64::total_cmp);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the list")]
            let at = |quantile: f64| times.get((times.len() as f64 * quantile) as usize).copied().unwrap_or(f64::NAN);
            [at(0.5), at(0.99)]
        };
        let milliseconds = |kind: CallKind| quantiles(kind).map(|seconds| seconds * 1000.0);
        let within: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= from && sample.at < to).collect();
        ensure!(!within.is_empty(), "a window has no sample");
        let mut memory = BTreeMap::<String, f64>::new();
        for (name, size) in within.iter().flat_map(|sample| &sample.memory) {
            let peak = memory.entry(name.clone()).or_default();
            *peak = peak.max(*size);
        }
        let peak = |figure: fn(&Sample) -> f64| within.iter().map(|sample| figure(sample)).fold(0.0, f64::max);
        Ok(Self {
            errors: calls.iter().filter_map(|call| call.error.clone()).collect(),
            read: milliseconds(CallKind::Read),
            submit: milliseconds(CallKind::Submit),
            analysis: quantiles(CallKind::Analysis),
            analyses: calls.iter().filter(|call| call.kind == CallKind::Analysis).count(),
            calls: calls.len(),
            peak: Sample {
                at: from,
                memory,
                connections: peak(|sample| sample.connections),
                jobs: peak(|sample| sample.jobs),
                tables: peak(|sample| sample.tables),
                indexes: peak(|sample| sample.indexes),
                ledger: peak(|sample| sample.ledger),
            },
        })
    }
}

/// The table of docs/soak.md, with a column for each window.
fn table(windows: &[Window], minutes: u64) -> Result<String> {
    let each = minutes as f64 / f64::from(WINDOWS);
    let mut out = "| minutes |".to_owned();
    for n in 0..windows.len() {
        write!(out, " {:.0}–{:.0} |", each * n as f64, each * (n + 1) as f64)?;
    }
    writeln!(out, " last / second |\n|---|{}---|", "---|".repeat(windows.len()))?;
    let mut row = |name: &str, figure: &dyn Fn(&Window) -> f64, digits: usize| -> Result<()> {
        write!(out, "| {name} |")?;
        for window in windows {
            write!(out, " {:.digits$} |", figure(window))?;
        }
        let ratio = windows.last().map_or(f64::NAN, figure) / windows.get(1).map_or(f64::NAN, figure);
        writeln!(out, " {} |", if ratio.is_finite() { format!("{ratio:.2}") } else { "–".to_owned() })?;
        Ok(())
    };
    row("calls", &|window| window.calls as f64, 0)?;
    row("errors", &|window| window.errors.len() as f64, 0)?;
    row("submitted analyses", &|window| window.analyses as f64, 0)?;
    row("a read, p50 (ms)", &|window| window.read[0], 1)?;
    row("a read, p99 (ms)", &|window| window.read[1], 1)?;
    row("a submission, p50 (ms)", &|window| window.submit[0], 1)?;
    row("a submission, p99 (ms)", &|window| window.submit[1], 1)?;
    row("an analysis, p50 (s)", &|window| window.analysis[0], 1)?;
    row("an analysis, p99 (s)", &|window| window.analysis[1], 1)?;
    row("database connections", &|window| window.peak.connections, 0)?;
    row("jobs in the table", &|window| window.peak.jobs, 0)?;
    row("tables (MiB)", &|window| window.peak.tables, 1)?;
    row("indexes (MiB)", &|window| window.peak.indexes, 1)?;
    row("the ledger with indexes (MiB)", &|window| window.peak.ledger, 1)?;
    for name in windows.first().into_iter().flat_map(|window| window.peak.memory.keys()) {
        row(&format!("memory of {name} (MiB)"), &|window| window.peak.memory.get(name).copied().unwrap_or(0.0), 0)?;
    }
    Ok(out)
}

/// Resources that grew from the second window, the first after warming up, to the last.
fn growth(second: &Window, last: &Window) -> Vec<String> {
    let mut grown = Vec::new();
    let mut judge = |what: &str, before: f64, after: f64, factor: f64, tolerance: f64| {
        if after > before * factor + tolerance {
            grown.push(format!("{what}: {before:.1}, then {after:.1}"));
        }
    };
    for (name, before) in second.peak.memory.iter().filter(|(name, _)| *name != "redis") {
        judge(name, *before, last.peak.memory.get(name).copied().unwrap_or(0.0), 1.1, 10.0);
    }
    // Results expire after an hour and profiles after a day, so Redis fills up to maxmemory and
    // evicts.
    judge("redis", REDIS_MAX_MEMORY, last.peak.memory.get("redis").copied().unwrap_or(0.0), 1.1, 10.0);
    judge("connections", second.peak.connections, last.peak.connections, 1.0, 5.0);
    judge("jobs", second.peak.jobs, last.peak.jobs, 1.2, 100.0);
    judge("tables", second.peak.tables, last.peak.tables, 1.2, 5.0);
    judge("indexes", second.peak.indexes, last.peak.indexes, 1.2, 5.0);
    grown
}

/// Starts watchers of jobs that wait in a paused lane.
async fn start_watchers(
    admin: &ApiClient,
    tenants: &[ApiClient],
) -> Result<Vec<(ApiClient, String, JoinHandle<Result<(String, usize)>>)>> {
    admin.post("/admin/v1/lanes/general/high/pause", json!({})).await?.expect(200)?;
    let mut watching = Vec::new();
    for n in 0..CLIENTS {
        let client = &tenants[n % tenants.len()];
        let job = client.submit(&format!("waits-{n}")).await?;
        watching.push((client.clone(), job.clone(), tokio::spawn(watch_until_finished(client.clone(), job))));
    }
    Ok(watching)
}

#[tokio::test]
#[ignore = "takes an hour: make soak"]
async fn resources_stay_flat_for_an_hour_with_a_thousand_clients() -> Result<()> {
    let minutes: u64 = std::env::var("SOAK_MINUTES").ok().map_or(Ok(60), |minutes| minutes.parse())?;
    let cluster = Cluster::connect().await?;
    let namespace = cluster.create_namespace("soak").await?;
    let operator = Namespace { cluster: cluster.clone(), name: "switchyard-system".to_owned() };
    let source = deploy_profile_source(&namespace).await?;
    let spec = json!({
        "environment": "development", "profileSource": source, "api": {"replicas": 2},
        "lanes": {"high": {"capacity": CLIENTS}},
        "tiers": {"premium": {"concurrent": CLIENTS, "lane": "high"}, "enterprise": {"concurrent": 20, "lane": "normal"}},
    });
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let admin = platform.admin().await?;
    let (mut watched_by, mut read_by, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TENANTS {
        for (tier, clients) in [("premium", &mut watched_by), ("enterprise", &mut read_by)] {
            let (id, client) = admin.create_tenant(tier, 1_000_000).await?;
            clients.push(client);
            ids.push(id);
        }
    }
    let watching = start_watchers(&admin, &watched_by).await?;
    let calls = Calls::default();
    let mut tasks = Vec::new();
    for (n, (watcher, job, _)) in (0_u32..).zip(&watching) {
        // Each reader has its own connection. The first calls are spread over an interval.
        let client = ApiClient::new(watcher.url.clone(), watcher.key.clone())?;
        let (job, calls) = (job.clone(), calls.clone());
        #[expect(clippy::cast_possible_truncation, reason = "it is 500")]
        let first = READ_INTERVAL * n / CLIENTS as u32;
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(first).await;
            read_forever(client, job, calls).await;
        }));
    }
    tasks.push(tokio::spawn(submit_forever(read_by, calls.clone())));

    let database = namespace.connect_database("main").await?;
    let began = Instant::now();
    let part = Duration::from_secs(60 * minutes) / WINDOWS;
    let mut samples = Vec::new();
    while began.elapsed() < part * WINDOWS {
        samples.push(sample(&namespace, &operator, &database).await?);
        database.execute("select switchyard.retain($1, $1, $1, 10000)", &[&RETENTION]).await?;
        let ended = watching.iter().filter(|(_, _, task)| task.is_finished()).count();
        ensure!(ended == 0, "{ended} watchers have ended");
        tokio::time::sleep((part / 20).min(Duration::from_secs(30))).await;
    }
    tasks.iter().for_each(JoinHandle::abort);
    // Wait for every accepted analysis.
    eventually(LIMIT + LIMIT, "the analyses are finished", || async {
        let calls = lock(&calls);
        let count = |kind| {
            calls
                .iter()
                .filter(|call| call.kind == kind && (kind == CallKind::Analysis || call.error.is_none()))
                .count()
        };
        ensure!(
            count(CallKind::Submit) == count(CallKind::Analysis),
            "{} accepted, {} ended",
            count(CallKind::Submit),
            count(CallKind::Analysis)
        );
        Ok(())
    })
    .await?;
    let windows = (0..WINDOWS)
        .map(|n| Window::of(&lock(&calls), &samples, began + part * n, began + part * (n + 1)))
        .collect::<Result<Vec<_>>>()?;
    let table = table(&windows, minutes)?;
    println!("{table}");
    if let Ok(path) = std::env::var("SOAK_INTO") {
        fs::write(path, table)?;
    }

    // Every watcher is still connected and receives the final state.
    let cancels = watching.iter().map(|(client, job, _)| async move {
        client.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)
    });
    for cancelled in join_all(cancels).await {
        cancelled?;
    }
    let mut reconnects = 0;
    for (_, job, task) in watching {
        let (state, count) =
            tokio::time::timeout(LIMIT, task).await.with_context(|| format!("{job} is watched"))???;
        ensure!(state == "cancelled", "{job} is {state}");
        reconnects += count;
    }
    println!("event streams reconnected: {reconnects}");
    for tenant in ids {
        eventually(LIMIT, "the ledger balances", || async { admin.check_balance(&tenant).await }).await?;
    }
    for window in &windows[1..] {
        let missing: Vec<&String> =
            window.peak.memory.iter().filter(|(_, size)| **size <= 0.0).map(|(name, _)| name).collect();
        ensure!(missing.is_empty() && window.peak.memory.len() >= WORKLOADS, "no memory was sampled for: {missing:?}");
    }
    let restarts = namespace.restart_count("").await?;
    ensure!(restarts == 0, "{restarts} containers restarted");
    let errors: Vec<&String> = windows.iter().flat_map(|window| &window.errors).collect();
    ensure!(errors.is_empty(), "{} errors: {:?}", errors.len(), &errors[..errors.len().min(5)]);
    let grown = growth(&windows[1], &windows[windows.len() - 1]);
    ensure!(grown.is_empty(), "grew from the second window to the last: {grown:#?}");
    namespace.delete().await
}
