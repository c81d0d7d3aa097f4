//! A platform that works for an hour with a thousand clients connected stays as it was: its memory, its connections, its tables, its answers. The table of docs/soak.md.
//!
//! Half of the clients read on a connection that they keep, the other half wait by WebSocket for jobs of a paused lane. `SOAK_MINUTES` says how long
//! (60), with `SOAK_INTO` the table is written there (`make soak`).

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
use switchyard_e2e::{ApiClient, Cluster, Namespace, Platform, locked, patiently, profile_source};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

const LIMIT: Duration = Duration::from_secs(300);
const TENANTS: usize = 10;
/// Of each sort: those that read and those that watch.
const CLIENTS: usize = 500;
/// From one call of a reader to its next.
const THINKS: Duration = Duration::from_secs(10);
/// From one new analysis to the next.
const ANALYSES_EVERY: Duration = Duration::from_secs(2);
/// Finished jobs and their events are kept for so many seconds, not for days: what is measured is what a platform holds when it has run for longer than that.
const KEPT: f64 = 300.0;
/// The API, four kinds of workers, four servers and the operator.
const WORKLOADS: usize = 10;
/// What the bundled Redis may hold, in MiB (images/redis/start).
const CACHE: f64 = 128.0;
/// Parts that the time is divided into; the first is there to warm up.
const WINDOWS: u32 = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Read,
    Submit,
    /// From the request to the end of the analysis.
    Analysis,
}

/// What somebody waited for.
struct Call {
    at: Instant,
    took: Duration,
    sort: Sort,
    /// What went wrong.
    trouble: Option<String>,
}

type Calls = Arc<Mutex<Vec<Call>>>;

async fn timed<T>(calls: &Calls, sort: Sort, call: impl Future<Output = Result<T>>) -> Option<T> {
    let at = Instant::now();
    let result = call.await;
    let trouble = result.as_ref().err().map(|error| format!("{error:#}"));
    locked(calls).push(Call { at, took: at.elapsed(), sort, trouble });
    result.ok()
}

/// Reads in turn what it may read, on one connection.
async fn reads(client: ApiClient, job: String, calls: Calls) {
    let paths = ["/v1/usage".to_owned(), "/v1/jobs?limit=20".to_owned(), format!("/v1/jobs/{job}")];
    for path in paths.iter().cycle() {
        timed(&calls, Sort::Read, async { client.get(path).await?.expect(200) }).await;
        tokio::time::sleep(THINKS).await;
    }
}

/// Watches a job until it is over. Answers with its last state, and how often the stream had to be opened again.
async fn watches(client: ApiClient, job: String) -> Result<(String, usize)> {
    let mut seen = None;
    for opened in 0.. {
        let mut socket = client.events(&job, seen).await?;
        while let Some(message) = socket.next().await {
            let Ok(Message::Text(text)) = message else { continue };
            let event: Value = serde_json::from_str(&text)?;
            seen = event["seq"].as_i64().or(seen);
            if let Some(state @ ("completed" | "dead" | "cancelled")) = event["state"].as_str() {
                return Ok((state.to_owned(), opened));
            }
        }
    }
    bail!("nobody opens a stream so often")
}

/// Asks for an analysis after the other and follows each to its end.
async fn analyses(clients: Vec<ApiClient>, calls: Calls) {
    for (n, client) in clients.iter().cycle().enumerate() {
        let (client, calls) = (client.clone(), calls.clone());
        tokio::spawn(async move {
            let name = format!("soak-{n}");
            let begun = Instant::now();
            if let Some(job) = timed(&calls, Sort::Submit, client.submit(&name)).await {
                let trouble = match tokio::time::timeout(LIMIT, watches(client, job)).await {
                    Ok(Ok((state, _))) if state == "completed" => None,
                    Ok(Ok((state, _))) => Some(format!("{name} ended as {state}")),
                    Ok(Err(error)) => Some(format!("{name}: {error:#}")),
                    Err(_) => Some(format!("{name} did not end within {LIMIT:?}")),
                };
                locked(&calls).push(Call { at: begun, took: begun.elapsed(), sort: Sort::Analysis, trouble });
            }
        });
        tokio::time::sleep(ANALYSES_EVERY).await;
    }
}

/// What a platform holds at a moment; sizes in MiB.
struct Sample {
    at: Instant,
    memory: BTreeMap<String, f64>,
    connections: f64,
    jobs: f64,
    tables: f64,
    indexes: f64,
    ledger: f64,
}

/// What a process has for itself, in MiB: neither pages of files, which the kernel takes back, nor the shared memory that PostgreSQL fills up to its setting.
fn held(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0.0) / 1024.0
}

async fn memory(namespace: &Namespace, into: &mut BTreeMap<String, f64>) -> Result<()> {
    for pod in namespace.pods("").await? {
        let processes = namespace.processes(&pod, "").await?;
        // main-general-5b7c…-x2x9f and main-postgresql-0 and switchyard-…: by the workload.
        let name = pod.trim_start_matches("main-").split('-').next().unwrap_or_default().to_owned();
        *into.entry(name).or_default() += processes.into_iter().map(held).sum::<f64>();
    }
    Ok(())
}

async fn sample(namespace: &Namespace, operator: &Namespace, database: &tokio_postgres::Client) -> Result<Sample> {
    let mut all = BTreeMap::new();
    memory(namespace, &mut all).await?;
    memory(operator, &mut all).await?;
    all.retain(|name, _| !["apify", "setup"].contains(&name.as_str()));
    let held = "select (select count(*) from pg_stat_activity where usename like 'analytics%')::float8,
            (select count(*) from switchyard.jobs)::float8, sum(pg_table_size(oid)) filter (where relname <> 'ledger')::float8 / 1048576,
            sum(pg_indexes_size(oid)) filter (where relname <> 'ledger')::float8 / 1048576,
            sum(pg_total_relation_size(oid)) filter (where relname = 'ledger')::float8 / 1048576
        from pg_class where relnamespace = 'switchyard'::regnamespace and relkind = 'r'";
    let row = database.query_one(held, &[]).await?;
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

/// What one part of the time came to.
struct Window {
    calls: usize,
    troubles: Vec<String>,
    read: [f64; 2],
    submit: [f64; 2],
    /// Seconds.
    analysis: [f64; 2],
    analyses: usize,
    /// The most of each.
    held: Sample,
}

impl Window {
    fn of(calls: &[Call], samples: &[Sample], from: Instant, to: Instant) -> Result<Self> {
        let calls: Vec<&Call> = calls.iter().filter(|call| call.at >= from && call.at < to).collect();
        let quantiles = |sort: Sort| {
            let mut times: Vec<f64> =
                calls.iter().filter(|call| call.sort == sort).map(|call| call.took.as_secs_f64()).collect();
            times.sort_by(f64::total_cmp);
            let at = |quantile: f64| times.get((times.len() as f64 * quantile) as usize).copied().unwrap_or(f64::NAN);
            [at(0.5), at(0.99)]
        };
        let milliseconds = |sort: Sort| quantiles(sort).map(|seconds| seconds * 1000.0);
        let within: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= from && sample.at < to).collect();
        ensure!(!within.is_empty(), "nothing was looked at in a part of the time");
        let mut memory = BTreeMap::<String, f64>::new();
        for (name, held) in within.iter().flat_map(|sample| &sample.memory) {
            let most = memory.entry(name.clone()).or_default();
            *most = most.max(*held);
        }
        let of = |figure: fn(&Sample) -> f64| within.iter().map(|sample| figure(sample)).fold(0.0, f64::max);
        Ok(Self {
            troubles: calls.iter().filter_map(|call| call.trouble.clone()).collect(),
            read: milliseconds(Sort::Read),
            submit: milliseconds(Sort::Submit),
            analysis: quantiles(Sort::Analysis),
            analyses: calls.iter().filter(|call| call.sort == Sort::Analysis).count(),
            calls: calls.len(),
            held: Sample {
                at: from,
                memory,
                connections: of(|sample| sample.connections),
                jobs: of(|sample| sample.jobs),
                tables: of(|sample| sample.tables),
                indexes: of(|sample| sample.indexes),
                ledger: of(|sample| sample.ledger),
            },
        })
    }
}

/// The table, a column a part of the time.
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
    row("errors", &|window| window.troubles.len() as f64, 0)?;
    row("analyses that clients asked for", &|window| window.analyses as f64, 0)?;
    row("a read, p50 (ms)", &|window| window.read[0], 1)?;
    row("a read, p99 (ms)", &|window| window.read[1], 1)?;
    row("a submission, p50 (ms)", &|window| window.submit[0], 1)?;
    row("a submission, p99 (ms)", &|window| window.submit[1], 1)?;
    row("an analysis, p50 (s)", &|window| window.analysis[0], 1)?;
    row("an analysis, p99 (s)", &|window| window.analysis[1], 1)?;
    row("database connections", &|window| window.held.connections, 0)?;
    row("jobs in the table", &|window| window.held.jobs, 0)?;
    row("tables (MiB)", &|window| window.held.tables, 1)?;
    row("their indexes (MiB)", &|window| window.held.indexes, 1)?;
    row("the ledger with indexes (MiB)", &|window| window.held.ledger, 1)?;
    for name in windows.first().into_iter().flat_map(|window| window.held.memory.keys()) {
        row(&format!("memory of {name} (MiB)"), &|window| window.held.memory.get(name).copied().unwrap_or(0.0), 0)?;
    }
    Ok(out)
}

/// Whether the last part holds no more than the second, which comes after everything has been used once.
fn flat(second: &Window, last: &Window) -> Vec<String> {
    let mut grown = Vec::new();
    let mut judge = |what: &str, before: f64, after: f64, factor: f64, room: f64| {
        if after > before * factor + room {
            grown.push(format!("{what}: {before:.1}, then {after:.1}"));
        }
    };
    for (name, before) in second.held.memory.iter().filter(|(name, _)| *name != "redis") {
        judge(name, *before, last.held.memory.get(name).copied().unwrap_or(0.0), 1.1, 10.0);
    }
    // A cache holds results for an hour and profiles for a day: it fills up to what it may have, and forgets the oldest then.
    judge("redis", CACHE, last.held.memory.get("redis").copied().unwrap_or(0.0), 1.1, 10.0);
    judge("connections", second.held.connections, last.held.connections, 1.0, 5.0);
    judge("jobs", second.held.jobs, last.held.jobs, 1.2, 100.0);
    judge("tables", second.held.tables, last.held.tables, 1.2, 5.0);
    judge("indexes", second.held.indexes, last.held.indexes, 1.2, 5.0);
    grown
}

/// Those who wait for jobs that nobody works on.
async fn watchers(
    admin: &ApiClient,
    tenants: &[ApiClient],
) -> Result<Vec<(ApiClient, String, JoinHandle<Result<(String, usize)>>)>> {
    admin.post("/admin/v1/lanes/general/high/pause", json!({})).await?.expect(200)?;
    let mut watching = Vec::new();
    for n in 0..CLIENTS {
        let client = &tenants[n % tenants.len()];
        let job = client.submit(&format!("waits-{n}")).await?;
        watching.push((client.clone(), job.clone(), tokio::spawn(watches(client.clone(), job))));
    }
    Ok(watching)
}

#[tokio::test]
#[ignore = "takes an hour: make soak"]
async fn an_hour_with_a_thousand_clients_leaves_everything_as_it_was() -> Result<()> {
    let minutes: u64 = std::env::var("SOAK_MINUTES").ok().map_or(Ok(60), |minutes| minutes.parse())?;
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("soak").await?;
    let operator = Namespace { cluster: cluster.clone(), name: "switchyard-system".to_owned() };
    let source = profile_source(&namespace).await?;
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
            let (id, client) = admin.tenant(tier, 1_000_000).await?;
            clients.push(client);
            ids.push(id);
        }
    }
    let watching = watchers(&admin, &watched_by).await?;
    let calls = Calls::default();
    let mut tasks = Vec::new();
    for (n, (watcher, job, _)) in (0_u32..).zip(&watching) {
        // Each a client, and so a connection, of its own; the first call of each at a time of its own.
        let client = ApiClient::new(watcher.url.clone(), watcher.key.clone())?;
        let (job, calls) = (job.clone(), calls.clone());
        let first = THINKS * n / CLIENTS as u32;
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(first).await;
            reads(client, job, calls).await;
        }));
    }
    tasks.push(tokio::spawn(analyses(read_by, calls.clone())));

    let database = namespace.database("main").await?;
    let began = Instant::now();
    let part = Duration::from_secs(60 * minutes) / WINDOWS;
    let mut samples = Vec::new();
    while began.elapsed() < part * WINDOWS {
        samples.push(sample(&namespace, &operator, &database).await?);
        database.execute("select switchyard.retain($1, $1, $1, 10000)", &[&KEPT]).await?;
        let ended = watching.iter().filter(|(_, _, task)| task.is_finished()).count();
        ensure!(ended == 0, "{ended} watchers have ended");
        tokio::time::sleep((part / 20).min(Duration::from_secs(30))).await;
    }
    tasks.iter().for_each(JoinHandle::abort);
    // Every analysis that was accepted is heard of.
    patiently(LIMIT + LIMIT, "the analyses end", || async {
        let calls = locked(&calls);
        let of = |sort| {
            calls.iter().filter(|call| call.sort == sort && (sort == Sort::Analysis || call.trouble.is_none())).count()
        };
        ensure!(of(Sort::Submit) == of(Sort::Analysis), "{} accepted, {} ended", of(Sort::Submit), of(Sort::Analysis));
        Ok(())
    })
    .await?;
    let windows = (0..WINDOWS)
        .map(|n| Window::of(&locked(&calls), &samples, began + part * n, began + part * (n + 1)))
        .collect::<Result<Vec<_>>>()?;
    let table = table(&windows, minutes)?;
    println!("{table}");
    if let Ok(path) = std::env::var("SOAK_INTO") {
        fs::write(path, table)?;
    }

    // Everybody who waited is still there to hear how it ends.
    let cancels = watching.iter().map(|(client, job, _)| async move {
        client.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)
    });
    for cancelled in join_all(cancels).await {
        cancelled?;
    }
    let mut opened_again = 0;
    for (_, job, task) in watching {
        let (state, again) =
            tokio::time::timeout(LIMIT, task).await.with_context(|| format!("{job} is watched"))???;
        ensure!(state == "cancelled", "{job} is {state}");
        opened_again += again;
    }
    println!("event streams that were opened again: {opened_again}");
    for tenant in ids {
        patiently(LIMIT, "the ledger balances", || async { admin.balances(&tenant).await }).await?;
    }
    for window in &windows[1..] {
        let unseen: Vec<&String> =
            window.held.memory.iter().filter(|(_, held)| **held <= 0.0).map(|(name, _)| name).collect();
        ensure!(unseen.is_empty() && window.held.memory.len() >= WORKLOADS, "nobody saw what these hold: {unseen:?}");
    }
    let restarts = namespace.restarts("").await?;
    ensure!(restarts == 0, "{restarts} containers were started anew");
    let troubles: Vec<&String> = windows.iter().flat_map(|window| &window.troubles).collect();
    ensure!(troubles.is_empty(), "{} errors: {:?}", troubles.len(), &troubles[..troubles.len().min(5)]);
    let grown = flat(&windows[1], &windows[windows.len() - 1]);
    ensure!(grown.is_empty(), "more at the end than after the beginning: {grown:#?}");
    namespace.delete().await
}
