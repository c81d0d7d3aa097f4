//! What the tests share: a stand-in for Apify in this process, jobs, and a progress that is kept.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::Router;
use serde_json::{Value, json};
use switchyard_apify_stand_in::Options;
use switchyard_contract::{Kind, Lane, ProfileSource, SourceLimits};
use switchyard_jobs::{
    cache::Cache,
    handler::{ClaimedJob, Progress, RunContext, Step},
    model::{JobId, TenantId},
    resilience::{Breaker, Policy},
};
use switchyard_worker::{
    apify::{Apify, Limits, SourceError},
    gate::Gate,
    metrics::Metrics,
    profile::Scraped,
    profiles::Profiles,
    throttle::Throttle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const TOKEN: &str = "apify_api_0123456789";
pub const ACTOR: &str = "apify~instagram-profile-scraper";

/// Serves `router` on a free port of loopback and returns its address.
pub async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

/// A stand-in that wants [`TOKEN`].
pub async fn stand_in(options: Options) -> String {
    serve(switchyard_apify_stand_in::router(Options { token: Some(TOKEN.to_owned()), ..options })).await
}

/// A client with the breaker that it asks leave of.
pub struct Client {
    pub apify: Apify,
    pub breaker: Breaker,
}

impl Client {
    pub async fn profile(&self, username: &str, deadline: Instant) -> Result<Scraped, SourceError> {
        self.apify.profile(username, self.breaker.admit().expect("leave"), deadline).await
    }

    pub async fn run(&self, usernames: &[&str], deadline: Instant) -> Result<Vec<Value>, SourceError> {
        self.apify.run(usernames, self.breaker.admit().expect("leave"), deadline).await
    }
}

/// A client for the stand-in at `endpoint`.
pub fn client(endpoint: &str, actor: &str, token: &str, limits: Limits) -> Client {
    let breaker = Breaker::new("profile-source", Policy { failures: 1000, ..Policy::EXTERNAL });
    let source =
        ProfileSource { endpoint: endpoint.to_owned(), actor: actor.to_owned(), limits: SourceLimits::default() };
    let apify = Apify::new(&source, token.into(), limits, breaker.clone(), Arc::new(Metrics::default()));
    Client { apify: apify.expect("a client"), breaker }
}

/// What an analysis needs of the source at `endpoint`.
pub struct Guarded {
    pub breaker: Breaker,
    pub cache: Cache,
    pub metrics: Arc<Metrics>,
    pub profiles: Arc<Profiles>,
}

/// The source at `endpoint` with all that stands around it, over the Redis at `cache`.
pub fn guarded(endpoint: &str, cache: &str, limits: SourceLimits) -> Guarded {
    let cache = Cache::connect(&cache.to_owned().into(), Duration::from_secs(60)).expect("an address");
    let metrics = Arc::new(Metrics::default());
    let breaker = Breaker::new("profile-source", Policy::EXTERNAL);
    let source = ProfileSource { endpoint: endpoint.to_owned(), actor: ACTOR.to_owned(), limits };
    let apify =
        Apify::new(&source, TOKEN.into(), Limits::default(), breaker.clone(), metrics.clone()).expect("a client");
    let gate = Gate { breaker: breaker.clone(), throttle: Throttle::new(cache.clone(), limits, metrics.clone()) };
    let profiles = Arc::new(Profiles::new(apify, gate, cache.clone(), metrics.clone()));
    Guarded { breaker, cache, metrics, profiles }
}

/// A first attempt at a job.
pub fn job(kind: Kind, username: &str, input: Value, step: Step) -> ClaimedJob {
    let id = JobId::fresh();
    ClaimedJob {
        id,
        root: id,
        tenant: TenantId(Uuid::nil()),
        kind,
        lane: Lane::Normal,
        attempt: 1,
        username: username.to_owned(),
        input,
        corrects: false,
        step,
    }
}

/// The input of an analysis that a caller asked for.
pub fn asked(username: &str) -> Value {
    json!({"username": username, "force_refresh": false, "origin": "api", "depth": 0})
}

/// Keeps what was reported.
#[derive(Default)]
pub struct Reports(Mutex<Vec<(u8, String)>>);

impl Reports {
    pub fn all(&self) -> Vec<(u8, String)> {
        self.0.lock().expect("not poisoned").clone()
    }
}

impl Progress for Reports {
    fn report(&self, percent: u8, stage: &str) {
        self.0.lock().expect("not poisoned").push((percent, stage.to_owned()));
    }
}

/// A context with half a minute left.
pub fn context() -> (RunContext, Arc<Reports>) {
    let reports = Arc::new(Reports::default());
    let context = RunContext {
        progress: reports.clone(),
        cancelled: CancellationToken::new(),
        deadline: Instant::now() + Duration::from_secs(30),
    };
    (context, reports)
}
