//! The fixture of the tests: a running API with real servers, and the calls of a worker.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser;
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use switchyard_api::serve::{self, Listeners, Options};
use switchyard_contract::{
    Analysis, Config, ConnectionPool, Database, Kind, Lane, Lanes, Mount, Platform, Pooler, Recovery, Retry, Role,
    Tiers, Workload, files,
};
use switchyard_jobs::{
    broker::Broker,
    cache::Cache,
    model::{Effects, JobError, JobId, Queue},
    store::{Claim, Lease, Policy, RunKey, Store},
    testing,
};
use tokio::{net::TcpListener, sync::OnceCell, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::openapi_conformance;

const ADMIN_KEY: &str = "the-admin-key-of-the-test";
const PATIENCE: Duration = Duration::from_secs(30);

/// A result as workers write it.
pub fn result_of(username: &str) -> Value {
    json!({
        "profile": {"username": username, "followers": 10},
        "posts": [{
            "id": "1", "text": "Guten Tag", "language": "de",
            "sentiment": {"label": "positive", "score": 0.9},
            "category": {"label": "travel", "score": 0.5}, "topics": [{"label": "travel", "score": 0.5}],
            "images": [{"url": "http://198.18.0.1/1.jpg"}],
        }],
        "aggregate": {
            "languages": {"de": 1.0}, "sentiment": {"positive": 1.0}, "categories": {"travel": 1.0}, "engagement_rate": 0.1,
        },
        "model": {"name": "e5", "version": "1", "fallback": false},
    })
}

/// The configuration that the operator would write for the API.
pub fn config() -> Config {
    Config {
        platform: Platform { namespace: "test".to_owned(), name: "test".to_owned() },
        workload: Workload::Api,
        database: Database {
            role: Role::Api,
            pooler: Pooler::None,
            connections: ConnectionPool {
                size: 8,
                overflow: 0,
                wait_timeout_seconds: 2,
                statement_timeout_seconds: 10,
            },
        },
        lanes: Lanes::default(),
        tiers: Tiers::default(),
        retry: Retry::default(),
        analysis: Analysis::default(),
        object_store: None,
        profile_source: None,
        telemetry: None,
        recovery: Recovery::default(),
    }
}

/// Writes a secret below `root` as a mounted one.
pub fn put_secret(root: &Path, file: files::SecretFile, value: &str) {
    let path = Mount::at(root).secret_path(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, value).unwrap();
}

/// Writes the configuration below `root` as a mounted one.
pub fn put_config(root: &Path, config: &Config) {
    let path = Mount::at(root).config_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec(config).unwrap()).unwrap();
}

/// One virtual host for all tests of the binary. Messages and events name their job, and tests
/// share no job.
async fn virtual_host() -> String {
    static VHOST: OnceCell<String> = OnceCell::const_new();
    VHOST.get_or_init(|| async { testing::rabbitmq().await.vhost() }).await.clone()
}

/// A folder with the files that are mounted into every workload.
pub async fn mounted(database: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    put_secret(folder.path(), files::DATABASE_URI, database);
    put_secret(folder.path(), files::BROKER_URI, &virtual_host().await);
    put_secret(folder.path(), files::CACHE_URI, &testing::redis().await.database());
    put_secret(folder.path(), files::ADMIN_KEY, ADMIN_KEY);
    folder
}

/// A running API.
pub struct TestApi {
    pub url: String,
    operations_url: String,
    stop: CancellationToken,
    served: Mutex<Option<JoinHandle<anyhow::Result<()>>>>,
    document: Arc<Value>,
    /// The store as workers use it.
    pub store: Store,
    broker: Broker,
    cache: Cache,
    /// The mounted files, which the process reads again while it runs.
    mount: tempfile::TempDir,
}

impl TestApi {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// As `start`, with a changed configuration.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_options(change, &[]).await
    }

    /// As `with`, with options of the command line as well.
    pub async fn with_options(change: impl FnOnce(&mut Config), options: &[&str]) -> Self {
        let database = testing::postgres().await.database().await;
        Self::over(mounted(&database.uri).await, change, options).await
    }

    /// As `start`, with a virtual host of its own.
    pub async fn with_own_broker() -> Self {
        let database = testing::postgres().await.database().await;
        let mount = mounted(&database.uri).await;
        put_secret(mount.path(), files::BROKER_URI, &testing::rabbitmq().await.vhost());
        Self::over(mount, |_| {}, &[]).await
    }

    /// An API whose database does not answer.
    pub async fn without_database() -> Self {
        // A free port without a listener.
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        Self::over(mounted(&format!("postgres://api:x@127.0.0.1:{port}/none")).await, |_| {}, &[]).await
    }

    /// An API with the mounted files.
    pub async fn over(mount: tempfile::TempDir, change: impl FnOnce(&mut Config), options: &[&str]) -> Self {
        let mut config = config();
        change(&mut config);
        put_config(mount.path(), &config);
        let files = Mount::at(mount.path());
        let policy = Policy { tiers: config.tiers, lanes: config.lanes, retry: config.retry.clone() };
        let connections =
            ConnectionPool { size: 4, overflow: 0, wait_timeout_seconds: 10, statement_timeout_seconds: 10 };
        let address = switchyard_jobs::store::Address::read(&files, files::DATABASE_URI).unwrap();
        let store = Store::open(&address, "test-worker", connections, policy);
        let broker = Broker::connect(&files.secret(files::BROKER_URI).unwrap(), "test-worker").unwrap();
        let cache = Cache::connect(&files.secret(files::CACHE_URI).unwrap(), Duration::from_mins(10)).unwrap();

        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listeners = Listeners { api: listen().await, operations: listen().await };
        let url = format!("http://{}", listeners.api.local_addr().unwrap());
        let operations_url = format!("http://{}", listeners.operations.local_addr().unwrap());
        // No drain, unless the test is about it.
        let no_drain = (!options.iter().any(|option| option.starts_with("--drain"))).then_some("--drain-seconds=0");
        let arguments = ["switchyard-api"].into_iter().chain(no_drain).chain(options.iter().copied());
        let options = Options::parse_from(arguments);
        let stop = CancellationToken::new();
        let asked = stop.clone();
        let served = tokio::spawn(async move { serve::until(asked, &options, &files, listeners).await });
        let document = Arc::new(serde_json::to_value(switchyard_api::router::document()).unwrap());
        broker.connected().await;
        Self { url, operations_url, stop, served: Mutex::new(Some(served)), document, store, broker, cache, mount }
    }

    /// A second process of the same platform.
    pub async fn twin(&self) -> Self {
        let mount = tempfile::tempdir().unwrap();
        let files = Mount::at(self.mount.path());
        for file in [files::DATABASE_URI, files::BROKER_URI, files::CACHE_URI, files::ADMIN_KEY] {
            put_secret(mount.path(), file, files.secret(file).unwrap().expose_secret());
        }
        Self::over(mount, |_| {}, &[]).await
    }

    /// Asks the process to stop, as SIGTERM would.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end of the graceful shutdown.
    pub async fn ended(&self) {
        let served = self.served.lock().unwrap().take().expect("waited for once");
        tokio::time::timeout(PATIENCE, served).await.expect("it does not shut down").unwrap().unwrap();
    }

    /// A name that no other test uses.
    #[expect(clippy::unused_self, reason = "tests get all that they need from the fixture")]
    pub fn name(&self, stem: &str) -> String {
        format!("{stem}-{}", &Uuid::new_v4().simple().to_string()[..12])
    }

    /// A caller with a key.
    pub fn with_key(&self, key: &str) -> Client {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Client { http, url: self.url.clone(), key: key.to_owned(), id: String::new(), document: self.document.clone() }
    }

    /// A caller without a key.
    pub fn anonymous(&self) -> Client {
        self.with_key("")
    }

    /// A caller with the admin key.
    pub fn admin(&self) -> Client {
        self.with_key(ADMIN_KEY)
    }

    /// A new tenant's caller.
    pub async fn tenant(&self, tier: &str, credits: i64) -> Client {
        let body = json!({"name": self.name("tenant"), "tier": tier, "credits": credits});
        let tenant = self.admin().post("/admin/v1/tenants", body).await.expect(201);
        let id = tenant["id"].as_str().unwrap();
        let key = self.admin().post(&format!("/admin/v1/tenants/{id}/keys"), json!({})).await.expect(201);
        Client { id: id.to_owned(), ..self.with_key(key["key"].as_str().unwrap()) }
    }

    /// The id of the only key of a tenant.
    pub async fn only_key_of(&self, tenant: &Client) -> String {
        let listed = self.admin().get(&format!("/admin/v1/tenants/{}/keys", tenant.id)).await.expect(200);
        let keys = listed["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 1, "{listed}");
        keys[0]["id"].as_str().unwrap().to_owned()
    }

    /// The response of the operations port.
    pub async fn operations(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("{}{path}", self.operations_url)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Caches a result of a profile and returns it.
    pub async fn cache(&self, username: &str) -> Value {
        let result = result_of(username);
        self.cache.put_result(username, &result).await;
        assert!(self.cache.result(username).await.is_some(), "the cache kept nothing");
        result
    }

    /// Waits for a ticket of a queue. Every API of the binary shares the queues, except
    /// [`TestApi::with_own_broker`].
    pub async fn message_in(&self, kind: &str, lane: &str) {
        let queue = Queue { kind: kind.parse().unwrap(), lane: lane.parse::<Lane>().unwrap() };
        let received = async {
            let mut consumer = self.broker.consumer(queue).await.unwrap();
            consumer.resume(1).await.unwrap();
            let message = consumer.next().await.unwrap();
            assert!(message.tickets >= 1);
            message.acknowledge().await.unwrap();
        };
        tokio::time::timeout(PATIENCE, received).await.expect("no message came");
    }

    /// A worker's claim of a job and of those before it.
    pub async fn claim(&self, job: &str) -> Claim {
        let id = JobId(job.parse().unwrap());
        for lane in Lane::ALL {
            let lease = Lease { worker: "test", duration: Duration::from_mins(1), call: Uuid::new_v4(), again: false };
            let queue = Queue { kind: Kind::General, lane: *lane };
            for claim in self.store.claim(queue, 32, &lease).await.unwrap() {
                self.publish(&claim.effects).await;
                if claim.job.id == id {
                    return claim;
                }
            }
        }
        panic!("{job} cannot be claimed");
    }

    async fn publish(&self, effects: &Effects) {
        self.broker.publish_events(&effects.events).await.unwrap();
    }

    /// Completes a job as a worker does.
    pub async fn complete(&self, job: &str) {
        let claim = self.claim(job).await;
        let run_key: RunKey = claim.run_key();
        let report = switchyard_jobs::store::ProgressReport { run_key, percent: 40, stage: "images".to_owned() };
        self.publish(&self.store.progress(&[report]).await.unwrap()).await;
        let effects = self.store.complete_analysis(run_key, &result_of(&claim.job.username)).await.unwrap();
        self.publish(&effects.expect("the claim holds")).await;
    }

    /// Fails a job for good at its first attempt.
    pub async fn kill(&self, job: &str, code: &str) {
        let claim = self.claim(job).await;
        let outcome = self.store.fail(claim.run_key(), &JobError::permanent(code, "in a test")).await.unwrap();
        assert!(matches!(outcome, switchyard_jobs::store::FailOutcome::Dead { .. }), "{outcome:?}");
    }
}

impl Drop for TestApi {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A client of the API. It validates every response against the OpenAPI document.
pub struct Client {
    http: reqwest::Client,
    url: String,
    pub key: String,
    /// The tenant's id; empty for others.
    pub id: String,
    document: Arc<Value>,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    /// The body, when the status is `status`.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        self.body.clone()
    }

    /// The problem, when it is this one.
    #[track_caller]
    pub fn refusal(&self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["type"], format!("https://switchyard.dev/problems/{code}"));
        assert_eq!(self.body["status"], status);
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{:?}", self.body);
        self.body.clone()
    }

    /// A header; empty if it is missing.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }
}

impl Client {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.key.is_empty() { request } else { request.bearer_auth(&self.key) }
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, headers, body }
    }

    async fn checked(&self, method: Method, path: &str, request: RequestBuilder) -> Answer {
        let answer = self.send(request).await;
        let content_type = answer.header("content-type");
        let found = openapi_conformance::differences(
            &self.document,
            method.as_str(),
            path,
            answer.status,
            &content_type,
            &answer.body,
        );
        assert!(found.is_empty(), "{found:#?} in {answer:?}");
        answer
    }

    /// A call of an undocumented path or method.
    pub async fn stray(&self, method: Method, path: &str) -> Answer {
        self.send(self.request(method, path)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = headers.iter().fold(self.request(Method::GET, path), |request, (n, v)| request.header(*n, *v));
        self.checked(Method::GET, path, request).await
    }

    /// A response whose body is a stream.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let request = headers.iter().fold(self.request(Method::GET, path), |request, (n, v)| request.header(*n, *v));
        request.send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_with(path, body, &[]).await
    }

    pub async fn post_with(&self, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let request = self.request(Method::POST, path).json(&body);
        let request = headers.iter().fold(request, |request, (n, v)| request.header(*n, *v));
        self.checked(Method::POST, path, request).await
    }

    /// A call with any body.
    pub async fn raw(&self, method: Method, path: &str, content_type: &str, body: &str) -> Answer {
        let request = self.request(method.clone(), path).header("content-type", content_type).body(body.to_owned());
        self.checked(method, path, request).await
    }

    /// Requests an analysis and returns the id of its job.
    pub async fn submit(&self, username: &str) -> String {
        let body = self.post("/v1/analyses", json!({"username": username})).await.expect(202);
        body["job"]["id"].as_str().unwrap().to_owned()
    }
}
