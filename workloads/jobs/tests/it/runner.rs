//! The runner, which claims jobs for tickets and runs them, with real servers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use lapin::{
    options::{BasicPublishOptions, ConfirmSelectOptions},
    protocol::basic::AMQPProperties,
};
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use serde_json::json;
use switchyard_contract::{
    Analysis, Config, ConnectionPool, Database, Kind, Lane, Platform, Pooler, Recovery, Role, Tier, Workload,
};
use switchyard_jobs::{
    announce::Announcer,
    broker::{Broker, JOBS_EXCHANGE},
    cache::Cache,
    events::Hub,
    handler::{Child, ClaimedJob, Handler, Outcome, RunContext, Step},
    maintenance,
    model::{Effects, JobError, JobId, JobState, Queue},
    recovery::Recoveries,
    runner::{Metrics, Runner, RunnerError, Timing},
    service::memory::MemoryMonitor,
    store::{Address, Admission, KeyHash, Lease, Policy, Store},
    testing::{rabbitmq, redis},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixture::{Fixture, fixture, fixture_with, immediate_retries, request, tenant};

const TIMEOUT: Duration = Duration::from_mins(1);
/// How long the script `blocks` blocks its thread.
const BLOCKED: Duration = Duration::from_secs(12);
const NORMAL: Queue = Queue { kind: Kind::General, lane: Lane::Normal };

/// A handler whose action is the first word of the profile's name.
struct Script {
    runs: AtomicU32,
    /// Running attempts.
    active: watch::Sender<usize>,
    /// One permit lets one `patient` job finish.
    finish: Semaphore,
}

impl Default for Script {
    fn default() -> Self {
        Self { runs: AtomicU32::new(0), active: watch::Sender::new(0), finish: Semaphore::new(0) }
    }
}

/// A running attempt. It ends when its future completes or is dropped.
struct ActiveAttempt<'a>(&'a watch::Sender<usize>);

impl Drop for ActiveAttempt<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|active| *active -= 1);
    }
}

impl Script {
    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    async fn wait_for_active(&self, count: usize) {
        let wait = async { self.active.subscribe().wait_for(|active| *active == count).await.map(drop) };
        let waited = timeout(TIMEOUT, wait).await;
        assert!(waited.is_ok(), "{} attempts are running, not {count}", *self.active.borrow());
    }
}

#[async_trait::async_trait]
impl Handler for Script {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.active.send_modify(|active| *active += 1);
        let _active = ActiveAttempt(&self.active);
        let action = job.username.split('.').next().unwrap_or_default();
        match (job.kind, action, &job.step) {
            (Kind::General, "family", Step::Start) => Ok(Outcome::Spawn {
                kept: json!("kept"),
                children: vec![Child { kind: Kind::Ai, input: json!(1), required: true }],
                stage: "analysing",
            }),
            (Kind::General, "family", Step::Join { kept, children }) => {
                Ok(Outcome::Complete(json!({ "kept": kept, "child": children[0].result.clone().unwrap() })))
            }
            (_, "flaky", _) if job.attempt < 3 => Err(JobError::transient("flaky", "not yet")),
            (_, "hostile", _) => Ok(Outcome::Complete(json!({ "nul\0": "a\0b" }))),
            (_, "greedy", _) => Ok(Outcome::Spawn { kept: json!(1), children: vec![], stage: "again" }),
            (_, "panics", _) => panic!("requested by the script"),
            (_, "endless", _) => std::future::pending().await,
            (_, "blocks", _) if job.attempt == 1 => {
                std::thread::sleep(BLOCKED);
                Ok(Outcome::Complete(json!("too late")))
            }
            (_, "patient", _) => {
                context.progress.report(40, "waiting");
                self.finish.acquire().await.unwrap().forget();
                Ok(Outcome::Complete(json!("patient")))
            }
            _ => Ok(Outcome::Complete(json!({ "kind": job.kind }))),
        }
    }
}

/// A worker process in this one.
struct Worker {
    script: Arc<Script>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), RunnerError>>,
}

/// A tenant with the servers that workers connect to.
struct RunnerFixture {
    g: Fixture,
    uri: String,
    broker: Broker,
    announcer: Announcer,
    cache: Cache,
    timing: Timing,
    maintenance_stop: CancellationToken,
}

fn config(kind: Kind, lanes: &[Lane], concurrency: u32, policy: &Policy) -> Config {
    Config {
        platform: Platform { namespace: "test".to_owned(), name: "test".to_owned() },
        workload: Workload::Pool { name: kind.to_string(), kind, lanes: lanes.to_vec(), concurrency },
        database: Database {
            role: Role::Workers,
            pooler: Pooler::None,
            connections: ConnectionPool { size: 4, overflow: 0, wait_timeout_seconds: 5, statement_timeout_seconds: 5 },
        },
        lanes: policy.lanes,
        tiers: policy.tiers,
        retry: policy.retry.clone(),
        analysis: Analysis::default(),
        object_store: None,
        profile_source: None,
        telemetry: None,
        recovery: Recovery::default(),
    }
}

/// A fixture with maintenance, which publishes missing tickets.
async fn with_maintenance(g: Fixture, timing: Timing) -> RunnerFixture {
    let fixture = without_maintenance(g, timing).await;
    let policy = maintenance::Policy {
        relay_every: Duration::from_millis(100),
        relay_after: Duration::from_millis(200),
        reap_every: Duration::from_millis(100),
        ..maintenance::Policy::default()
    };
    let (store, broker, announcer) = (fixture.g.store.clone(), fixture.broker.clone(), fixture.announcer.clone());
    tokio::spawn(maintenance::run(
        store,
        broker,
        announcer,
        policy,
        Recoveries::default(),
        fixture.maintenance_stop.clone(),
    ));
    fixture
}

/// A fixture without maintenance: a missing ticket stays missing.
async fn without_maintenance(g: Fixture, timing: Timing) -> RunnerFixture {
    let uri = rabbitmq().await.vhost();
    let broker = Broker::connect(&SecretString::from(uri.clone()), "test").unwrap();
    let cache = Cache::connect(&SecretString::from(redis().await.database()), Duration::from_mins(1)).unwrap();
    timeout(TIMEOUT, broker.connected()).await.expect("the broker accepts the connection");
    let announcer = Announcer::start(broker.clone());
    RunnerFixture { g, uri, broker, announcer, cache, timing, maintenance_stop: CancellationToken::new() }
}

impl RunnerFixture {
    fn worker(&self, kind: Kind, lanes: &[Lane], concurrency: u32) -> Worker {
        self.worker_on(&self.g.store, kind, lanes, concurrency)
    }

    fn worker_on(&self, store: &Store, kind: Kind, lanes: &[Lane], concurrency: u32) -> Worker {
        let runner = Runner {
            config: Arc::new(config(kind, lanes, concurrency, store.policy())),
            store: store.clone(),
            broker: self.broker.clone(),
            cache: self.cache.clone(),
            metrics: Metrics::register(&mut Registry::default()),
            timing: self.timing,
            memory_limit: None,
        };
        let (script, stop) = (Arc::new(Script::default()), CancellationToken::new());
        let running = tokio::spawn(runner.run(script.clone(), stop.clone()));
        Worker { script, stop, running }
    }

    /// A worker that runs up to four analyses.
    fn general(&self) -> Worker {
        self.worker(Kind::General, Lane::ALL, 4)
    }

    /// Submits an analysis and publishes its ticket, as the API does.
    async fn submit(&self, username: &str) -> JobId {
        let job = self.g.submit(username).await;
        self.announce(Queue { kind: Kind::General, lane: job.lane }, 1);
        job.id
    }

    fn announce(&self, queue: Queue, jobs: usize) {
        self.announcer.announce(Effects { ready: vec![queue; jobs], events: vec![] });
    }

    /// Publishes a message with exactly this body.
    async fn publish(&self, queue: Queue, body: &str) {
        let connection = lapin::Connection::connect(&self.uri, lapin::ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let (exchange, key) = (JOBS_EXCHANGE.into(), queue.to_string());
        let confirm = channel
            .basic_publish(
                exchange,
                key.as_str().into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                AMQPProperties::default(),
            )
            .await
            .unwrap();
        confirm.await.unwrap();
        connection.close(200, "done".into()).await.unwrap();
    }

    async fn wait_for_end(&self, job: JobId, state: JobState) {
        let hub = Hub::start(self.g.store.clone(), self.broker.clone());
        let events = hub.watch(None, job, 0);
        timeout(TIMEOUT, events.count()).await.expect("the analysis ends");
        assert_eq!(self.g.job(job).await.state, state);
    }

    /// Waits until `count` jobs have completed.
    async fn wait_for_completed(&self, count: i64) {
        let client = self.g.database.client().await;
        let polling = async {
            let statement = "select count(*) from switchyard.jobs where state = 'completed'";
            while client.query_one(statement, &[]).await.unwrap().get::<_, i64>(0) < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIMEOUT, polling).await.expect("the jobs complete");
    }

    /// Shuts the workers down like pods, stops maintenance and checks the invariants.
    async fn drain<const N: usize>(&self, workers: [Worker; N]) {
        for worker in &workers {
            worker.stop.cancel();
        }
        for worker in workers {
            timeout(TIMEOUT, worker.running).await.expect("the worker shuts down").unwrap().unwrap();
        }
        self.maintenance_stop.cancel();
        self.g.assert_consistent().await;
    }
}

/// Limits that allow thousands of concurrent analyses of one tenant.
fn high_limits() -> Policy {
    let mut policy = immediate_retries();
    for limits in [&mut policy.lanes.normal, &mut policy.lanes.low] {
        (limits.capacity, limits.max_running) = (10_000, 1000);
    }
    (policy.tiers.standard.concurrent, policy.tiers.standard.daily) = (10_000, None);
    policy
}

#[tokio::test]
async fn analysis_runs_through_its_children_to_its_cached_result() {
    let f = with_maintenance(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let workers = [f.general(), f.worker(Kind::Ai, Lane::ALL, 4)];
    let job = f.submit("family").await;
    f.wait_for_end(job, JobState::Completed).await;
    let (cached, _) = loop {
        // The cache is written just after the database.
        if let Some(found) = f.cache.result("family").await {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(cached, json!({ "kept": "kept", "child": { "kind": "ai" } }));
    f.drain(workers).await;
}

#[tokio::test]
async fn failed_and_panicked_attempts_are_retried() {
    let f = with_maintenance(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = f.general();
    let (flaky, panics) = (f.submit("flaky").await, f.submit("panics").await);
    f.wait_for_end(flaky, JobState::Completed).await;
    f.wait_for_end(panics, JobState::Dead).await;
    assert_eq!(f.g.job(panics).await.error.unwrap().code, "panic");
    assert_eq!(f.g.balance().await, 8);
    f.drain([worker]).await;
}

#[tokio::test]
async fn unstorable_outcome_is_sanitized_or_kills_the_job() {
    let f = with_maintenance(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = f.general();
    let (hostile, greedy) = (f.submit("hostile").await, f.submit("greedy").await);
    f.wait_for_end(hostile, JobState::Completed).await;
    // It spawns in its join, which is refused.
    f.wait_for_end(greedy, JobState::Dead).await;
    assert_eq!(f.g.job(greedy).await.error.unwrap().code, "outcome-refused");
    f.drain([worker]).await;
}

#[tokio::test]
async fn attempt_over_the_timeout_of_its_lane_is_stopped() {
    let mut policy = immediate_retries();
    policy.lanes.normal.timeout_seconds = 1;
    let f = with_maintenance(fixture_with(Tier::Standard, 10, policy).await, Timing::default()).await;
    let worker = f.general();
    let job = f.submit("endless").await;
    f.wait_for_end(job, JobState::Dead).await;
    assert_eq!(f.g.job(job).await.error.unwrap().code, "timeout");
    assert_eq!(worker.script.runs(), 3);
    worker.script.wait_for_active(0).await;
    f.drain([worker]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attempt_that_blocks_its_thread_loses_its_job_after_timeout_and_lease() {
    let mut policy = immediate_retries();
    policy.lanes.normal.timeout_seconds = 1;
    let timing = Timing { lease: Duration::from_secs(1), ..Timing::default() };
    let f = with_maintenance(fixture_with(Tier::Standard, 10, policy).await, timing).await;
    let worker = f.general();
    let began = std::time::Instant::now();
    let job = f.submit("blocks").await;
    f.wait_for_end(job, JobState::Completed).await;
    assert!(began.elapsed() < BLOCKED, "another attempt completed only after {:?}", began.elapsed());
    assert_eq!(worker.script.runs(), 2);
    f.drain([worker]).await;
}

#[tokio::test]
async fn duplicate_and_stale_tickets_lead_to_one_run() {
    let f = with_maintenance(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = f.general();
    let job = f.submit("plain").await;
    f.announce(NORMAL, 40);
    f.announcer.flush().await;
    f.wait_for_end(job, JobState::Completed).await;
    let script = worker.script.clone();
    f.drain([worker]).await;
    assert_eq!(script.runs(), 1);
}

#[tokio::test]
async fn lost_ticket_is_published_again() {
    let f = with_maintenance(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = f.general();
    let job = f.g.submit("plain").await;
    f.wait_for_end(job.id, JobState::Completed).await;
    f.drain([worker]).await;
}

#[tokio::test]
async fn malformed_message_is_one_ticket() {
    let f = without_maintenance(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = f.general();
    for (username, body) in [("a", "nonsense"), ("b", r#"{"job":"0190b3c0-0000-7000-8000-000000000000"}"#)] {
        let job = f.g.submit(username).await;
        f.publish(NORMAL, body).await;
        f.wait_for_end(job.id, JobState::Completed).await;
    }
    f.drain([worker]).await;
}

#[tokio::test]
async fn tickets_of_one_message_are_shared_by_workers_with_free_slots() {
    let f = without_maintenance(fixture_with(Tier::Standard, 1000, high_limits()).await, Timing::default()).await;
    for i in 0..32 {
        f.g.submit(&format!("patient.{i}")).await;
    }
    let workers = [f.worker(Kind::General, &[Lane::Normal], 4), f.worker(Kind::General, &[Lane::Normal], 4)];
    f.publish(NORMAL, r#"{"jobs":32}"#).await;
    for worker in &workers {
        worker.script.wait_for_active(4).await;
    }
    for worker in &workers {
        worker.script.finish.add_permits(100);
    }
    // Only the two workers pass tickets on: maintenance is off.
    f.wait_for_completed(32).await;
    let runs = workers.iter().map(|worker| worker.script.runs());
    assert_eq!(runs.sum::<u32>(), 32);
    f.drain(workers).await;
}

#[tokio::test]
async fn idle_worker_gets_tickets_that_a_busy_one_cannot_use() {
    let f = without_maintenance(fixture_with(Tier::Standard, 1000, high_limits()).await, Timing::default()).await;
    let busy = f.worker(Kind::General, &[Lane::Normal], 1);
    for i in 0..3 {
        f.g.submit(&format!("patient.{i}")).await;
    }
    f.publish(NORMAL, r#"{"jobs":3}"#).await;
    busy.script.wait_for_active(1).await;
    let idle = f.worker(Kind::General, &[Lane::Normal], 4);
    idle.script.wait_for_active(2).await;
    // The idle worker also gets tickets that are published later.
    for i in 3..5 {
        f.submit(&format!("patient.{i}")).await;
    }
    idle.script.wait_for_active(4).await;
    for worker in [&busy, &idle] {
        worker.script.finish.add_permits(100);
    }
    for worker in [&busy, &idle] {
        worker.script.wait_for_active(0).await;
    }
    let runs = (busy.script.runs(), idle.script.runs());
    f.drain([busy, idle]).await;
    assert_eq!(runs, (1, 4));
}

#[tokio::test]
async fn worker_without_database_leaves_jobs_to_one_with_it() {
    let f = with_maintenance(fixture_with(Tier::Standard, 1000, high_limits()).await, Timing::default()).await;
    let nowhere = Address::parse("postgres://user@127.0.0.1:1/none", "uri").unwrap();
    let connections = ConnectionPool { size: 4, overflow: 0, wait_timeout_seconds: 5, statement_timeout_seconds: 5 };
    let disconnected = Store::open(&nowhere, "switchyard-test", connections, high_limits());
    let disconnected = f.worker_on(&disconnected, Kind::General, &[Lane::Normal], 4);
    for i in 0..6 {
        f.g.submit(&format!("plain.{i}")).await;
    }
    // The disconnected worker takes four tickets and claims no job for them. The other worker gets
    // the rest. The relay publishes new tickets for the last two jobs.
    for _ in 0..2 {
        f.publish(NORMAL, r#"{"jobs":4}"#).await;
    }
    let connected = f.worker(Kind::General, &[Lane::Normal], 4);
    f.wait_for_completed(6).await;
    assert_eq!((disconnected.script.runs(), connected.script.runs()), (0, 6));
    f.drain([disconnected, connected]).await;
}

#[tokio::test]
async fn lane_runs_its_maximum_and_starts_the_next_analysis_at_once() {
    let mut policy = high_limits();
    policy.lanes.normal.max_running = 3;
    let f = without_maintenance(fixture_with(Tier::Standard, 1000, policy).await, Timing::default()).await;
    let workers = [f.worker(Kind::General, &[Lane::Normal], 4), f.worker(Kind::General, &[Lane::Normal], 4)];
    let runs = || workers.iter().map(|worker| worker.script.runs()).sum::<u32>();
    let wait_for_runs = async |count| {
        let polling = async {
            while runs() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(TIMEOUT, polling).await.expect("the attempts start");
    };
    for i in 0..6 {
        f.submit(&format!("patient.{i}")).await;
    }
    f.announcer.flush().await;
    // Whenever a worker handles the other tickets, there is nothing to claim.
    let assert_full = async || {
        let lease = Lease { worker: "test", duration: TIMEOUT, call: Uuid::new_v4(), again: false };
        let claims = f.g.store.claim(NORMAL, 6, &lease).await.unwrap();
        assert!(claims.is_empty(), "the lane runs its maximum, and {} more are claimable", claims.len());
    };
    wait_for_runs(3).await;
    assert_full().await;
    assert_eq!(runs(), 3);
    let one = workers.iter().find(|worker| *worker.script.active.borrow() > 0).unwrap();
    one.script.finish.add_permits(1);
    wait_for_runs(4).await;
    assert_full().await;
    assert_eq!(runs(), 4);
    for worker in &workers {
        worker.script.finish.add_permits(100);
    }
    f.wait_for_completed(6).await;
    assert_eq!(runs(), 6);
    f.drain(workers).await;
}

#[tokio::test]
async fn critical_job_starts_at_once_behind_many_low_ones() {
    let mut policy = high_limits();
    policy.tiers.standard.lane = Lane::Low;
    let f = without_maintenance(fixture_with(Tier::Standard, 1000, policy).await, Timing::default()).await;
    let worker = f.general();
    for i in 0..10 {
        f.submit(&format!("patient.{i}")).await;
    }
    // The other three slots are reserved for higher lanes.
    worker.script.wait_for_active(1).await;
    let (_, key) = tenant(&f.g.store, Tier::Enterprise, 10).await;
    let critical = accepted(&f, key, "plain").await;
    f.announce(Queue { kind: Kind::General, lane: Lane::Critical }, 1);
    f.wait_for_end(critical, JobState::Completed).await;
    assert_eq!(worker.script.runs(), 2, "one low job and the critical one");
    worker.script.finish.add_permits(100);
    worker.script.wait_for_active(0).await;
    f.drain([worker]).await;
}

async fn accepted(f: &RunnerFixture, key: KeyHash, username: &str) -> JobId {
    match f.g.store.submit(request(key, username)).await.unwrap() {
        Admission::Accepted { job, .. } => job.id,
        other => panic!("not accepted: {other:?}"),
    }
}

#[tokio::test]
async fn thousands_of_jobs_all_finish_once() {
    const JOBS: u32 = 5000;
    let f = with_maintenance(fixture_with(Tier::Standard, 100_000, high_limits()).await, Timing::default()).await;
    let submits = stream::iter(0..JOBS).map(|i| {
        let f = &f;
        async move { f.submit(&format!("plain.{i}")).await }
    });
    submits.buffer_unordered(64).collect::<Vec<_>>().await;
    let workers = [f.worker(Kind::General, &[Lane::Normal], 500), f.worker(Kind::General, Lane::ALL, 500)];
    f.wait_for_completed(JOBS.into()).await;
    let runs = workers.iter().map(|worker| worker.script.runs());
    assert_eq!(runs.sum::<u32>(), JOBS);
    f.drain(workers).await;
}

#[tokio::test]
async fn draining_lets_a_running_job_finish() {
    let f = with_maintenance(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = f.general();
    let job = f.submit("patient").await;
    worker.script.wait_for_active(1).await;
    worker.stop.cancel();
    worker.script.finish.add_permits(1);
    f.drain([worker]).await;
    assert_eq!(f.g.job(job).await.state, JobState::Completed);
}

#[tokio::test]
async fn draining_releases_jobs_that_do_not_finish() {
    let f = without_maintenance(
        fixture(Tier::Standard, 10).await,
        Timing { grace: Duration::from_millis(200), ..Timing::default() },
    )
    .await;
    let worker = f.general();
    let job = f.submit("endless").await;
    worker.script.wait_for_active(1).await;
    f.drain([worker]).await;
    let job = f.g.job(job).await;
    assert_eq!(
        (job.state, job.attempt),
        (JobState::Queued, 0),
        "the job is queued again, and the attempt does not count"
    );
    assert_eq!(f.broker.depth(NORMAL).await.unwrap(), 1, "the ticket is back in the queue");
}

#[tokio::test]
async fn worker_over_its_memory_limit_releases_its_job_to_another_one() {
    let timing = Timing { grace: Duration::from_millis(200), ..Timing::default() };
    let f = without_maintenance(fixture(Tier::Standard, 10).await, timing).await;
    let worker = f.general();
    let job = f.submit("patient").await;
    worker.script.wait_for_active(1).await;
    // This process is over a limit of one byte.
    let monitor = MemoryMonitor::register(&mut Registry::default(), Some(1));
    timeout(TIMEOUT, monitor.watch(&worker.stop)).await.expect("it is over the limit").expect("it stops the worker");
    timeout(TIMEOUT, worker.running).await.expect("the worker shuts down").unwrap().unwrap();

    let other = f.general();
    other.script.finish.add_permits(1);
    f.wait_for_end(job, JobState::Completed).await;
    assert_eq!((worker.script.runs(), other.script.runs()), (1, 1));
    assert_eq!(f.g.job(job).await.attempt, 1, "the stopped attempt does not count");
    f.drain([other]).await;
}

#[tokio::test]
async fn cancelled_job_is_stopped_by_the_next_heartbeat() {
    let timing = Timing { lease: Duration::from_millis(900), grace: TIMEOUT };
    let f = with_maintenance(fixture(Tier::Standard, 10).await, timing).await;
    let worker = f.general();
    let job = f.submit("endless").await;
    worker.script.wait_for_active(1).await;
    f.g.store.cancel(f.g.tenant, job).await.unwrap();
    worker.script.wait_for_active(0).await;
    f.drain([worker]).await;
    assert_eq!(f.g.job(job).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn heartbeats_keep_the_lease_of_a_long_job_and_progress_shows() {
    let timing = Timing { lease: Duration::from_millis(900), ..Timing::default() };
    let f = with_maintenance(fixture(Tier::Standard, 10).await, timing).await;
    let worker = f.general();
    let job = f.submit("patient").await;
    worker.script.wait_for_active(1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = f.g.job(job).await;
    assert_eq!((seen.state, seen.attempt, seen.progress, seen.stage.as_str()), (JobState::Running, 1, 40, "waiting"));
    worker.script.finish.add_permits(1);
    f.wait_for_end(job, JobState::Completed).await;
    f.drain([worker]).await;
}
