use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use serde_json::json;
use switchyard_contract::{Config, ConnectionPool, Database, Kind, Lane, Platform, Pooler, Role, Tier, Workload};
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
    store::{Address, Admission, KeyHash, Policy, Store},
    testing::{rabbitmq, redis},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, fixture, fixture_with, quick, request, tenant};

const SOON: Duration = Duration::from_secs(60);
/// How long code that heeds nobody keeps its thread.
const BLOCKED: Duration = Duration::from_secs(12);
const NORMAL: Queue = Queue { kind: Kind::General, lane: Lane::Normal };

/// Does what the first word of the profile's name says.
struct Script {
    runs: AtomicU32,
    /// Attempts that are under way.
    busy: watch::Sender<usize>,
    /// Lets patient jobs end, each one with a permit.
    go_on: Semaphore,
}

impl Default for Script {
    fn default() -> Self {
        Self { runs: AtomicU32::new(0), busy: watch::Sender::new(0), go_on: Semaphore::new(0) }
    }
}

/// An attempt that is under way, until its future ends or is dropped.
struct Busy<'a>(&'a watch::Sender<usize>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy -= 1);
    }
}

impl Script {
    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    async fn busy(&self, count: usize) {
        let wait = async { self.busy.subscribe().wait_for(|busy| *busy == count).await.map(drop) };
        let waited = timeout(SOON, wait).await;
        assert!(waited.is_ok(), "{} attempts are under way, not {count}", *self.busy.borrow());
    }
}

#[async_trait::async_trait]
impl Handler for Script {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.busy.send_modify(|busy| *busy += 1);
        let _busy = Busy(&self.busy);
        let does = job.username.split('.').next().unwrap_or_default();
        match (job.kind, does, &job.step) {
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
            (_, "panics", _) => panic!("as it says"),
            (_, "endless", _) => std::future::pending().await,
            (_, "blocks", _) if job.attempt == 1 => {
                std::thread::sleep(BLOCKED);
                Ok(Outcome::Complete(json!("too late")))
            }
            (_, "patient", _) => {
                context.progress.report(40, "waiting");
                self.go_on.acquire().await.unwrap().forget();
                Ok(Outcome::Complete(json!("patient")))
            }
            _ => Ok(Outcome::Complete(json!({ "kind": job.kind }))),
        }
    }
}

/// A worker process.
struct Worker {
    script: Arc<Script>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), RunnerError>>,
}

/// What workers work on.
struct Yard {
    g: Fixture,
    uri: String,
    broker: Broker,
    announcer: Announcer,
    cache: Cache,
    timing: Timing,
    upkeep: CancellationToken,
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
        analysis: Default::default(),
        object_store: None,
        profile_source: None,
        telemetry: None,
        recovery: Default::default(),
    }
}

/// With maintenance, which publishes missing tickets.
async fn yard(g: Fixture, timing: Timing) -> Yard {
    let yard = untended(g, timing).await;
    let policy = maintenance::Policy {
        relay_every: Duration::from_millis(100),
        relay_after: Duration::from_millis(200),
        reap_every: Duration::from_millis(100),
        ..maintenance::Policy::default()
    };
    let (store, broker, announcer) = (yard.g.store.clone(), yard.broker.clone(), yard.announcer.clone());
    tokio::spawn(maintenance::run(store, broker, announcer, policy, Recoveries::default(), yard.upkeep.clone()));
    yard
}

/// Without upkeep: what nobody tells of is not found.
async fn untended(g: Fixture, timing: Timing) -> Yard {
    let uri = rabbitmq().await.vhost();
    let broker = Broker::connect(&SecretString::from(uri.clone()), "test").unwrap();
    let cache = Cache::connect(&SecretString::from(redis().await.database()), Duration::from_secs(60)).unwrap();
    timeout(SOON, broker.connected()).await.expect("the broker is there");
    let announcer = Announcer::start(broker.clone());
    Yard { g, uri, broker, announcer, cache, timing, upkeep: CancellationToken::new() }
}

impl Yard {
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

    /// A worker of analyses, four at once.
    fn general(&self) -> Worker {
        self.worker(Kind::General, Lane::ALL, 4)
    }

    /// Submits as the API does, and tells of it.
    async fn submit(&self, username: &str) -> JobId {
        let job = self.g.submit(username).await;
        self.tell(Queue { kind: Kind::General, lane: job.lane }, 1);
        job.id
    }

    fn tell(&self, queue: Queue, jobs: usize) {
        self.announcer.announce(Effects { ready: vec![queue; jobs], events: vec![] });
    }

    /// Publishes a message to the letter.
    async fn publish(&self, queue: Queue, body: &str) {
        let connection = lapin::Connection::connect(&self.uri, lapin::ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(Default::default()).await.unwrap();
        let (exchange, key) = (JOBS_EXCHANGE.into(), queue.to_string());
        let confirm = channel
            .basic_publish(exchange, key.as_str().into(), Default::default(), body.as_bytes(), Default::default())
            .await
            .unwrap();
        confirm.await.unwrap();
        connection.close(200, "done".into()).await.unwrap();
    }

    async fn ends(&self, job: JobId, state: JobState) {
        let hub = Hub::start(self.g.store.clone(), self.broker.clone());
        let events = hub.watch(None, job, 0);
        timeout(SOON, events.count()).await.expect("the analysis ends");
        assert_eq!(self.g.job(job).await.state, state);
    }

    /// Waits until so many jobs have been completed in all.
    async fn completed(&self, count: i64) {
        let client = self.g.database.client().await;
        let looking = async {
            let statement = "select count(*) from switchyard.jobs where state = 'completed'";
            while client.query_one(statement, &[]).await.unwrap().get::<_, i64>(0) < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, looking).await.expect("they are completed");
    }

    /// Stops workers as a pod does, and the upkeep; looks whether everything adds up.
    async fn drain<const N: usize>(&self, workers: [Worker; N]) {
        for worker in &workers {
            worker.stop.cancel();
        }
        for worker in workers {
            timeout(SOON, worker.running).await.expect("it drains").unwrap().unwrap();
        }
        self.upkeep.cancel();
        self.g.balanced().await;
    }
}

/// Room for many analyses of one tenant at once.
fn wide() -> Policy {
    let mut policy = quick();
    for limits in [&mut policy.lanes.normal, &mut policy.lanes.low] {
        (limits.capacity, limits.max_running) = (10_000, 1000);
    }
    (policy.tiers.standard.concurrent, policy.tiers.standard.daily) = (10_000, None);
    policy
}

#[tokio::test]
async fn analysis_runs_through_its_children_to_its_cached_result() {
    let y = yard(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let workers = [y.general(), y.worker(Kind::Ai, Lane::ALL, 4)];
    let job = y.submit("family").await;
    y.ends(job, JobState::Completed).await;
    let (cached, _) = loop {
        // The cache is written just after the database.
        if let Some(found) = y.cache.result("family").await {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(cached, json!({ "kept": "kept", "child": { "kind": "ai" } }));
    y.drain(workers).await;
}

#[tokio::test]
async fn failed_and_panicked_attempts_are_retried() {
    let y = yard(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = y.general();
    let (flaky, panics) = (y.submit("flaky").await, y.submit("panics").await);
    y.ends(flaky, JobState::Completed).await;
    y.ends(panics, JobState::Dead).await;
    assert_eq!(y.g.job(panics).await.error.unwrap().code, "panic");
    assert_eq!(y.g.balance().await, 8);
    y.drain([worker]).await;
}

#[tokio::test]
async fn unstorable_outcome_is_sanitized_or_kills_the_job() {
    let y = yard(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = y.general();
    let (hostile, greedy) = (y.submit("hostile").await, y.submit("greedy").await);
    y.ends(hostile, JobState::Completed).await;
    // It spawns again out of its join, which no job may.
    y.ends(greedy, JobState::Dead).await;
    assert_eq!(y.g.job(greedy).await.error.unwrap().code, "outcome-refused");
    y.drain([worker]).await;
}

#[tokio::test]
async fn attempt_over_the_timeout_of_its_lane_is_stopped() {
    let mut policy = quick();
    policy.lanes.normal.timeout_seconds = 1;
    let y = yard(fixture_with(Tier::Standard, 10, policy).await, Timing::default()).await;
    let worker = y.general();
    let job = y.submit("endless").await;
    y.ends(job, JobState::Dead).await;
    assert_eq!(y.g.job(job).await.error.unwrap().code, "timeout");
    assert_eq!(worker.script.runs(), 3);
    worker.script.busy(0).await;
    y.drain([worker]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attempt_that_blocks_its_thread_loses_its_job_after_timeout_and_lease() {
    let mut policy = quick();
    policy.lanes.normal.timeout_seconds = 1;
    let timing = Timing { lease: Duration::from_secs(1), ..Timing::default() };
    let y = yard(fixture_with(Tier::Standard, 10, policy).await, timing).await;
    let worker = y.general();
    let began = std::time::Instant::now();
    let job = y.submit("blocks").await;
    y.ends(job, JobState::Completed).await;
    assert!(began.elapsed() < BLOCKED, "it was taken from the one that blocks: {:?}", began.elapsed());
    assert_eq!(worker.script.runs(), 2);
    y.drain([worker]).await;
}

#[tokio::test]
async fn duplicate_and_stale_tickets_lead_to_one_run() {
    let y = yard(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = y.general();
    let job = y.submit("plain").await;
    y.tell(NORMAL, 40);
    y.announcer.flush().await;
    y.ends(job, JobState::Completed).await;
    let script = worker.script.clone();
    y.drain([worker]).await;
    assert_eq!(script.runs(), 1);
}

#[tokio::test]
async fn lost_ticket_is_published_again() {
    let y = yard(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = y.general();
    let job = y.g.submit("plain").await;
    y.ends(job.id, JobState::Completed).await;
    y.drain([worker]).await;
}

#[tokio::test]
async fn malformed_message_is_one_ticket() {
    let y = untended(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = y.general();
    for (username, body) in [("a", "nonsense"), ("b", r#"{"job":"0190b3c0-0000-7000-8000-000000000000"}"#)] {
        let job = y.g.submit(username).await;
        y.publish(NORMAL, body).await;
        y.ends(job.id, JobState::Completed).await;
    }
    y.drain([worker]).await;
}

#[tokio::test]
async fn tickets_of_one_message_are_shared_by_workers_with_free_slots() {
    let y = untended(fixture_with(Tier::Standard, 1000, wide()).await, Timing::default()).await;
    for i in 0..32 {
        y.g.submit(&format!("patient.{i}")).await;
    }
    let workers = [y.worker(Kind::General, &[Lane::Normal], 4), y.worker(Kind::General, &[Lane::Normal], 4)];
    y.publish(NORMAL, r#"{"jobs":32}"#).await;
    for worker in &workers {
        worker.script.busy(4).await;
    }
    for worker in &workers {
        worker.script.go_on.add_permits(100);
    }
    // Nobody but the two hands tickets on.
    y.completed(32).await;
    let runs = workers.iter().map(|worker| worker.script.runs());
    assert_eq!(runs.sum::<u32>(), 32);
    y.drain(workers).await;
}

#[tokio::test]
async fn idle_worker_gets_tickets_that_a_busy_one_cannot_use() {
    let y = untended(fixture_with(Tier::Standard, 1000, wide()).await, Timing::default()).await;
    let busy = y.worker(Kind::General, &[Lane::Normal], 1);
    for i in 0..3 {
        y.g.submit(&format!("patient.{i}")).await;
    }
    y.publish(NORMAL, r#"{"jobs":3}"#).await;
    busy.script.busy(1).await;
    let idle = y.worker(Kind::General, &[Lane::Normal], 4);
    idle.script.busy(2).await;
    // And what is published later does not lie with the busy one either.
    for i in 3..5 {
        y.submit(&format!("patient.{i}")).await;
    }
    idle.script.busy(4).await;
    for worker in [&busy, &idle] {
        worker.script.go_on.add_permits(100);
    }
    for worker in [&busy, &idle] {
        worker.script.busy(0).await;
    }
    let runs = (busy.script.runs(), idle.script.runs());
    y.drain([busy, idle]).await;
    assert_eq!(runs, (1, 4));
}

#[tokio::test]
async fn worker_without_database_leaves_jobs_to_one_with_it() {
    let y = yard(fixture_with(Tier::Standard, 1000, wide()).await, Timing::default()).await;
    let nowhere = Address::parse("postgres://user@127.0.0.1:1/none", "uri").unwrap();
    let connections = ConnectionPool { size: 4, overflow: 0, wait_timeout_seconds: 5, statement_timeout_seconds: 5 };
    let blind = Store::open(&nowhere, "switchyard-test", connections, wide());
    let blind = y.worker_on(&blind, Kind::General, &[Lane::Normal], 4);
    for i in 0..6 {
        y.g.submit(&format!("plain.{i}")).await;
    }
    // It takes four tickets and never gets any job for them; the rest is for others, and the relay sees that nobody asks for the last two jobs.
    for _ in 0..2 {
        y.publish(NORMAL, r#"{"jobs":4}"#).await;
    }
    let sighted = y.worker(Kind::General, &[Lane::Normal], 4);
    y.completed(6).await;
    assert_eq!((blind.script.runs(), sighted.script.runs()), (0, 6));
    y.drain([blind, sighted]).await;
}

#[tokio::test]
async fn lane_runs_its_maximum_and_starts_the_next_analysis_at_once() {
    let mut policy = wide();
    policy.lanes.normal.max_running = 3;
    let y = untended(fixture_with(Tier::Standard, 1000, policy).await, Timing::default()).await;
    let workers = [y.worker(Kind::General, &[Lane::Normal], 4), y.worker(Kind::General, &[Lane::Normal], 4)];
    let runs = || workers.iter().map(|worker| worker.script.runs()).sum::<u32>();
    let begun = async |count| {
        let looking = async {
            while runs() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, looking).await.expect("they begin");
    };
    for i in 0..6 {
        y.submit(&format!("patient.{i}")).await;
    }
    y.announcer.flush().await;
    begun(3).await;
    // All tickets have led to a job or to nothing by now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(runs(), 3);
    let one = workers.iter().find(|worker| *worker.script.busy.borrow() > 0).unwrap();
    one.script.go_on.add_permits(1);
    begun(4).await;
    for worker in &workers {
        worker.script.go_on.add_permits(100);
    }
    y.completed(6).await;
    assert_eq!(runs(), 6);
    y.drain(workers).await;
}

#[tokio::test]
async fn critical_job_starts_at_once_behind_many_low_ones() {
    let mut policy = wide();
    policy.tiers.standard.lane = Lane::Low;
    let y = untended(fixture_with(Tier::Standard, 1000, policy).await, Timing::default()).await;
    let worker = y.general();
    for i in 0..10 {
        y.submit(&format!("patient.{i}")).await;
    }
    // The other three slots are kept for the better lanes.
    worker.script.busy(1).await;
    let (_, key) = tenant(&y.g.store, Tier::Enterprise, 10).await;
    let critical = accepted(&y, key, "plain").await;
    y.tell(Queue { kind: Kind::General, lane: Lane::Critical }, 1);
    y.ends(critical, JobState::Completed).await;
    assert_eq!(worker.script.runs(), 2, "one low job and the critical one");
    worker.script.go_on.add_permits(100);
    worker.script.busy(0).await;
    y.drain([worker]).await;
}

async fn accepted(y: &Yard, key: KeyHash, username: &str) -> JobId {
    match y.g.store.submit(request(key, username)).await.unwrap() {
        Admission::Accepted { job, .. } => job.id,
        other => panic!("not accepted: {other:?}"),
    }
}

#[tokio::test]
async fn thousands_of_jobs_all_finish_once() {
    const JOBS: u32 = 5000;
    let y = yard(fixture_with(Tier::Standard, 100_000, wide()).await, Timing::default()).await;
    let submits = stream::iter(0..JOBS).map(|i| {
        let y = &y;
        async move { y.submit(&format!("plain.{i}")).await }
    });
    submits.buffer_unordered(64).collect::<Vec<_>>().await;
    let workers = [y.worker(Kind::General, &[Lane::Normal], 500), y.worker(Kind::General, Lane::ALL, 500)];
    y.completed(JOBS.into()).await;
    let runs = workers.iter().map(|worker| worker.script.runs());
    assert_eq!(runs.sum::<u32>(), JOBS);
    y.drain(workers).await;
}

#[tokio::test]
async fn draining_lets_a_running_job_finish() {
    let y = yard(fixture(Tier::Standard, 10).await, Timing::default()).await;
    let worker = y.general();
    let job = y.submit("patient").await;
    worker.script.busy(1).await;
    worker.stop.cancel();
    worker.script.go_on.add_permits(1);
    y.drain([worker]).await;
    assert_eq!(y.g.job(job).await.state, JobState::Completed);
}

#[tokio::test]
async fn draining_releases_jobs_that_do_not_finish() {
    let y =
        untended(fixture(Tier::Standard, 10).await, Timing { grace: Duration::from_millis(200), ..Timing::default() })
            .await;
    let worker = y.general();
    let job = y.submit("endless").await;
    worker.script.busy(1).await;
    y.drain([worker]).await;
    let job = y.g.job(job).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0), "for another worker, and the attempt does not count");
    assert_eq!(y.broker.depth(NORMAL).await.unwrap(), 1, "and another worker has a ticket");
}

#[tokio::test]
async fn cancelled_job_is_stopped_by_the_next_heartbeat() {
    let timing = Timing { lease: Duration::from_millis(900), grace: SOON };
    let y = yard(fixture(Tier::Standard, 10).await, timing).await;
    let worker = y.general();
    let job = y.submit("endless").await;
    worker.script.busy(1).await;
    y.g.store.cancel(y.g.tenant, job).await.unwrap();
    worker.script.busy(0).await;
    y.drain([worker]).await;
    assert_eq!(y.g.job(job).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn heartbeats_keep_the_lease_of_a_long_job_and_progress_shows() {
    let timing = Timing { lease: Duration::from_millis(900), ..Timing::default() };
    let y = yard(fixture(Tier::Standard, 10).await, timing).await;
    let worker = y.general();
    let job = y.submit("patient").await;
    worker.script.busy(1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = y.g.job(job).await;
    assert_eq!((seen.state, seen.attempt, seen.progress, seen.stage.as_str()), (JobState::Running, 1, 40, "waiting"));
    worker.script.go_on.add_permits(1);
    y.ends(job, JobState::Completed).await;
    y.drain([worker]).await;
}
