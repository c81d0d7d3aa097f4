//! The program as a pod runs it, with the real model, PostgreSQL, RabbitMQ and Redis.

use std::{fs, net::TcpListener, path::Path, process::Stdio, sync::Arc, time::Duration};

use futures::StreamExt;
use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use switchyard_contract::{
    Analysis, Config, ConnectionPool, Database, Kind, Lane, Platform, Pooler, Recovery, Tier, Workload,
};
use switchyard_jobs::{
    announce::Announcer,
    broker::Broker,
    cache::Cache,
    events::Hub,
    handler::{Child, ClaimedJob, Handler, Outcome, RunContext, Step},
    model::{Effects, JobError, JobState, Queue},
    runner::{Metrics, Runner, Timing},
    store::{Admission, KeyHash, NewTenant, Policy, SubmitRequest},
    testing::{postgres, rabbitmq, redis},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child as Process, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::support::model_dir;

const TIMEOUT: Duration = Duration::from_mins(2);

/// An analysis with one chunk of posts.
struct OneChunk;

#[async_trait::async_trait]
impl Handler for OneChunk {
    async fn run(&self, job: &ClaimedJob, _context: &RunContext) -> Result<Outcome, JobError> {
        match &job.step {
            Step::Start => {
                let input = json!({"posts": [
                    {"id": "1", "text": "What a wonderful day, I love it!"},
                    {"id": "2", "text": ""},
                    {"id": "3", "text": "Das ist eine Schande, ich bin so wütend."},
                ]});
                Ok(Outcome::Spawn {
                    kept: json!(null),
                    children: vec![Child { kind: Kind::Ai, input, required: true }],
                    stage: "analysing",
                })
            }
            Step::Join { children, .. } => Ok(Outcome::Complete(children[0].result.clone()?)),
        }
    }
}

fn config(kind: Kind) -> Config {
    let policy = Policy::default();
    Config {
        platform: Platform { namespace: "test".to_owned(), name: "test".to_owned() },
        workload: Workload::Pool { name: kind.to_string(), kind, lanes: Lane::ALL.to_vec(), concurrency: 2 },
        database: Database {
            role: kind.role(),
            pooler: Pooler::None,
            connections: ConnectionPool {
                size: 4,
                overflow: 0,
                wait_timeout_seconds: 10,
                statement_timeout_seconds: 30,
            },
        },
        lanes: policy.lanes,
        tiers: policy.tiers,
        retry: policy.retry,
        analysis: Analysis::default(),
        object_store: None,
        profile_source: None,
        telemetry: None,
        recovery: Recovery::default(),
    }
}

/// Writes the files that the operator mounts.
fn mount(root: &Path, config: &Config, secrets: [(&str, &str); 3]) {
    fs::create_dir_all(root.join("config")).unwrap();
    fs::write(root.join("config/config.json"), serde_json::to_string(config).unwrap()).unwrap();
    for (group, uri) in secrets {
        let folder = root.join("secrets").join(group);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("uri"), uri).unwrap();
    }
}

fn program(root: &Path, port: u16) -> Process {
    command(root, port).spawn().unwrap()
}

fn command(root: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard-ai"));
    command
        .env("SWITCHYARD_DIR", root)
        .env("SWITCHYARD_MODEL_DIR", model_dir())
        .env("SWITCHYARD_MODEL_THREADS", "1")
        .env("SWITCHYARD_OPERATIONS_LISTEN", format!("127.0.0.1:{port}"))
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn program_classifies_a_chunk_and_shuts_down_gracefully() {
    let database = postgres().await.database().await;
    let store = database.store(Policy::default());
    let (broker_uri, cache_uri) = (rabbitmq().await.vhost(), redis().await.database());
    let folder = tempfile::tempdir().unwrap();
    mount(
        folder.path(),
        &config(Kind::Ai),
        [("database", &database.uri), ("broker", &broker_uri), ("cache", &cache_uri)],
    );

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut process = program(folder.path(), port);
    let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
    timeout(TIMEOUT, async {
        while !log.next_line().await.unwrap().expect("the program runs").contains("started runner") {}
    })
    .await
    .expect("the program takes jobs");

    let broker = Broker::connect(&SecretString::from(broker_uri), "test").unwrap();
    let cache = Cache::connect(&SecretString::from(cache_uri), TIMEOUT).unwrap();
    let announcer = Announcer::start(broker.clone());
    let stop = CancellationToken::new();
    let runner = Runner {
        config: Arc::new(config(Kind::General)),
        store: store.clone(),
        broker: broker.clone(),
        cache,
        metrics: Metrics::register(&mut Registry::default()),
        timing: Timing::default(),
        memory_limit: None,
    };
    let running = tokio::spawn(runner.run(Arc::new(OneChunk), stop.clone()));
    timeout(TIMEOUT, broker.connected()).await.expect("the broker is there");

    let tenant =
        store.create_tenant(&NewTenant { name: "tester", tier: Tier::Standard, credits: 10 }).await.unwrap().id;
    let key = store.create_key(tenant).await.unwrap().unwrap();
    let request = SubmitRequest {
        key: KeyHash::of(key.secret.expose_secret()),
        username: "someone".to_owned(),
        force_refresh: false,
        idempotency: None,
    };
    let Admission::Accepted { job, .. } = store.submit(request).await.unwrap() else { panic!("not accepted") };
    let queue = Queue { kind: Kind::General, lane: job.lane };
    announcer.announce(Effects { ready: vec![queue], events: vec![] });
    let events = Hub::start(store.clone(), broker.clone()).watch(None, job.id, 0);
    timeout(TIMEOUT, events.count()).await.expect("the analysis ends");

    assert_eq!(store.any_job(job.id).await.unwrap().unwrap().state, JobState::Completed);
    let (_, result) = store.latest_result(tenant, "someone").await.unwrap().expect("a result");
    assert_eq!(result["model"]["fallback"], false);
    let labels: Vec<_> = result["posts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|post| (&post["language"], &post["sentiment"]["label"]))
        .collect();
    assert_eq!(
        labels,
        [(&json!("en"), &json!("positive")), (&json!("und"), &json!("neutral")), (&json!("de"), &json!("negative")),]
    );

    for path in ["/livez", "/readyz"] {
        let answer = get(port, path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let metrics = get(port, "/metrics").await;
    for line in
        ["switchyard_model_posts_total{by=\"model\"} 3", "switchyard_circuit_breaker_state{breaker=\"model\"} 0"]
    {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }

    let id = process.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(timeout(TIMEOUT, process.wait()).await.expect("it ends").unwrap().success());
    stop.cancel();
    timeout(TIMEOUT, running).await.expect("it drains").unwrap().unwrap();
}

#[tokio::test]
async fn program_over_its_memory_limit_shuts_down_gracefully() {
    let database = postgres().await.database().await;
    let folder = tempfile::tempdir().unwrap();
    let (broker, cache) = (rabbitmq().await.vhost(), redis().await.database());
    mount(folder.path(), &config(Kind::Ai), [("database", &database.uri), ("broker", &broker), ("cache", &cache)]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The model alone takes more than that.
    let mut process = command(folder.path(), port).env("SWITCHYARD_MEMORY_LIMIT_BYTES", "50000000").spawn().unwrap();
    let mut log = String::new();
    let mut stdout = process.stdout.take().unwrap();
    timeout(TIMEOUT, stdout.read_to_string(&mut log)).await.expect("it ends").unwrap();
    assert!(process.wait().await.unwrap().success(), "{log}");
    for part in ["started runner", "raise the pool's memory limit", "shut down gracefully"] {
        assert!(log.contains(part), "'{part}' is not in\n{log}");
    }
}

#[tokio::test]
async fn pool_of_another_kind_names_the_right_image() {
    let folder = tempfile::tempdir().unwrap();
    mount(
        folder.path(),
        &config(Kind::Cdn),
        [("database", "postgres://x@127.0.0.1/x"), ("broker", "amqp://127.0.0.1"), ("cache", "redis://127.0.0.1")],
    );
    let mut process = program(folder.path(), 0);
    let mut log = String::new();
    process.stdout.take().unwrap().read_to_string(&mut log).await.unwrap();
    assert!(!process.wait().await.unwrap().success());
    assert!(log.contains("switchyard-worker"), "{log}");
}
