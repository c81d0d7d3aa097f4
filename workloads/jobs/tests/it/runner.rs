use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use prometheus_client::registry::Registry;
use secrecy::SecretString;
use serde_json::json;
use switchyard_contract::{Config, ConnectionPool, Database, Kind, Lane, Platform, Pooler, Role, Tier, Workload};
use switchyard_jobs::{
    announce::Announcer,
    broker::Broker,
    cache::Cache,
    handler::{Child, Claimed, Handler, Outcome, RunContext, Step},
    maintenance,
    model::{Effects, JobError, JobId, JobState, Pointer, Queue},
    runner::{Metrics, Runner, RunnerError, Timing},
    store::Policy,
    testing::{rabbitmq, redis},
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::ground::{Ground, ground, ground_with, quick};

const SOON: Duration = Duration::from_secs(60);

/// Does what the profile's name says.
#[derive(Default)]
struct Script {
    runs: AtomicU32,
    began: Notify,
    go_on: Notify,
}

#[async_trait::async_trait]
impl Handler for Script {
    async fn run(&self, job: &Claimed, context: &RunContext) -> Result<Outcome, JobError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.began.notify_one();
        match (job.kind, job.username.as_str(), &job.step) {
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
            (_, "patient", _) => {
                context.progress.report(40, "waiting");
                self.go_on.notified().await;
                Ok(Outcome::Complete(json!("patient")))
            }
            _ => Ok(Outcome::Complete(json!({ "kind": job.kind }))),
        }
    }
}

/// A platform in one process: workers of every kind that is asked for, and the upkeep.
struct Platform1 {
    g: Ground,
    broker: Broker,
    announcer: Announcer,
    cache: Cache,
    script: Arc<Script>,
    stop: CancellationToken,
    upkeep: CancellationToken,
    runners: Vec<JoinHandle<Result<(), RunnerError>>>,
}

fn config(kind: Kind, policy: &Policy) -> Config {
    Config {
        platform: Platform { namespace: "test".to_owned(), name: "test".to_owned() },
        workload: Workload::Pool { name: kind.to_string(), kind, lanes: Lane::ALL.to_vec(), concurrency: 4 },
        database: Database {
            role: Role::Workers,
            pooler: Pooler::None,
            connections: ConnectionPool { size: 4, wait_timeout_seconds: 5, statement_timeout_seconds: 5 },
        },
        lanes: policy.lanes,
        tiers: policy.tiers,
        retry: policy.retry.clone(),
        analysis: Default::default(),
        object_store: None,
        profile_source: None,
    }
}

async fn platform(g: Ground, kinds: &[Kind], timing: Timing) -> Platform1 {
    let broker = Broker::connect(&SecretString::from(rabbitmq().await.vhost()), "test").unwrap();
    let cache = Cache::connect(&SecretString::from(redis().await.database()), Duration::from_secs(60)).unwrap();
    let (stop, upkeep) = (CancellationToken::new(), CancellationToken::new());
    let announcer = Announcer::start(g.store.clone(), broker.clone());
    let script = Arc::new(Script::default());
    let policy = maintenance::Policy {
        relay_every: Duration::from_millis(100),
        reap_every: Duration::from_millis(100),
        ..maintenance::Policy::default()
    };
    tokio::spawn(maintenance::run(g.store.clone(), broker.clone(), announcer.clone(), policy, upkeep.clone()));
    let mut runners = Vec::new();
    for kind in kinds {
        let runner = Runner {
            config: Arc::new(config(*kind, g.store.policy())),
            store: g.store.clone(),
            broker: broker.clone(),
            cache: cache.clone(),
            metrics: Metrics::register(&mut Registry::default()),
            timing,
        };
        runners.push(tokio::spawn(runner.run(script.clone(), stop.clone())));
    }
    timeout(SOON, broker.connected()).await.expect("the broker is there");
    Platform1 { g, broker, announcer, cache, script, stop, upkeep, runners }
}

impl Platform1 {
    async fn submit(&self, username: &str) -> JobId {
        let job = self.g.submit(username).await;
        self.point_at(job.id, job.lane);
        job.id
    }

    fn point_at(&self, job: JobId, lane: Lane) {
        let pointer = Pointer { job, queue: Queue { kind: Kind::General, lane } };
        self.announcer.announce(Effects { ready: vec![pointer], events: vec![] });
    }

    async fn ends(&self, job: JobId, state: JobState) {
        let hub = switchyard_jobs::events::Hub::start(self.g.store.clone(), self.broker.clone());
        let events = hub.watch(None, job, 0);
        timeout(SOON, futures::StreamExt::count(events)).await.expect("the analysis ends");
        assert_eq!(self.g.job(job).await.state, state);
    }

    /// Stops as a pod does.
    async fn drain(&mut self) {
        self.stop.cancel();
        for runner in self.runners.drain(..) {
            timeout(SOON, runner).await.expect("it drains").unwrap().unwrap();
        }
        self.upkeep.cancel();
        self.g.balanced().await;
    }
}

#[tokio::test]
async fn an_analysis_runs_through_its_children_to_its_result_and_the_cache() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General, Kind::Ai], Timing::default()).await;
    let job = p.submit("family").await;
    p.ends(job, JobState::Completed).await;
    let (cached, _) = loop {
        // The cache is written just after the database.
        if let Some(found) = p.cache.result("family").await {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(cached, json!({ "kept": "kept", "child": { "kind": "ai" } }));
    p.drain().await;
}

#[tokio::test]
async fn failed_attempts_are_tried_again_and_a_panic_is_one() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General], Timing::default()).await;
    let (flaky, panics) = (p.submit("flaky").await, p.submit("panics").await);
    p.ends(flaky, JobState::Completed).await;
    p.ends(panics, JobState::Dead).await;
    assert_eq!(p.g.job(panics).await.error.unwrap().code, "panic");
    assert_eq!(p.g.balance().await, 8);
    p.drain().await;
}

#[tokio::test]
async fn an_outcome_that_the_database_cannot_take_is_made_fit_or_told_and_not_tried_for_ever() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General], Timing::default()).await;
    let (hostile, greedy) = (p.submit("hostile").await, p.submit("greedy").await);
    p.ends(hostile, JobState::Completed).await;
    // It spawns again out of its join, which no job may.
    p.ends(greedy, JobState::Dead).await;
    assert_eq!(p.g.job(greedy).await.error.unwrap().code, "outcome-refused");
    p.drain().await;
}

#[tokio::test]
async fn an_attempt_over_its_lane_s_time_is_stopped() {
    let mut policy = quick();
    policy.lanes.normal.timeout_seconds = 1;
    let g = ground_with(Tier::Standard, 10, policy).await;
    let mut p = platform(g, &[Kind::General], Timing::default()).await;
    let job = p.submit("endless").await;
    p.ends(job, JobState::Dead).await;
    assert_eq!(p.g.job(job).await.error.unwrap().code, "timeout");
    p.drain().await;
}

#[tokio::test]
async fn a_repeated_message_leads_to_one_run() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General], Timing::default()).await;
    let job = p.submit("plain").await;
    for _ in 0..20 {
        p.point_at(job, Lane::Normal);
    }
    p.announcer.flush().await;
    p.ends(job, JobState::Completed).await;
    p.drain().await;
    assert_eq!(p.script.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_lost_message_is_sent_again() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General], Timing::default()).await;
    let job = p.g.submit("plain").await;
    p.ends(job.id, JobState::Completed).await;
    p.drain().await;
}

#[tokio::test]
async fn draining_lets_a_running_job_finish() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General], Timing::default()).await;
    let job = p.submit("patient").await;
    timeout(SOON, p.script.began.notified()).await.unwrap();
    p.stop.cancel();
    p.script.go_on.notify_one();
    p.drain().await;
    assert_eq!(p.g.job(job).await.state, JobState::Completed);
}

#[tokio::test]
async fn draining_hands_back_what_does_not_finish() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General], Timing { grace: Duration::from_millis(200), ..Timing::default() }).await;
    let job = p.submit("endless").await;
    timeout(SOON, p.script.began.notified()).await.unwrap();
    p.drain().await;
    let job = p.g.job(job).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0), "for another worker, and the attempt does not count");
}

#[tokio::test]
async fn a_cancelled_job_is_stopped_by_the_next_heartbeat() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General], Timing { lease: Duration::from_millis(900), grace: SOON }).await;
    let job = p.submit("endless").await;
    timeout(SOON, p.script.began.notified()).await.unwrap();
    p.g.store.cancel(p.g.tenant, job).await.unwrap();
    // It would never end by itself: draining waits for it.
    p.drain().await;
    assert_eq!(p.g.job(job).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn heartbeats_keep_a_long_job_and_progress_is_seen() {
    let g = ground(Tier::Standard, 10).await;
    let mut p = platform(g, &[Kind::General], Timing { lease: Duration::from_millis(900), ..Timing::default() }).await;
    let job = p.submit("patient").await;
    timeout(SOON, p.script.began.notified()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = p.g.job(job).await;
    assert_eq!((seen.state, seen.attempt, seen.progress, seen.stage.as_str()), (JobState::Running, 1, 40, "waiting"));
    p.script.go_on.notify_one();
    p.ends(job, JobState::Completed).await;
    p.drain().await;
}
