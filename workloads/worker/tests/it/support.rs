//! Shared fixtures: a stand-in for Apify in this process, jobs, and a recorded progress.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use parking_lot::Mutex;
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
    metrics::Metrics,
    profile::ScrapedProfile,
    profile_fetcher::ProfileFetcher,
    source_guard::SourceGuard,
    throttle::Throttle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const TOKEN: &str = "apify_api_0123456789";
pub const ACTOR: &str = "apify~instagram-profile-scraper";

/// Serves `router` on a free port of loopback and returns its URL.
pub async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("a URL"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

/// Starts a stand-in that requires [`TOKEN`] and returns its URL.
pub async fn stand_in(options: Options) -> String {
    serve(switchyard_apify_stand_in::router(Options { token: Some(TOKEN.to_owned()), ..options })).await
}

/// A client together with its breaker.
pub struct Client {
    pub apify: Apify,
    pub breaker: Breaker,
}

impl Client {
    pub async fn profile(&self, username: &str, deadline: Instant) -> Result<ScrapedProfile, SourceError> {
        self.apify.profile(username, self.breaker.admit().expect("a permit"), deadline).await
    }

    pub async fn run(&self, usernames: &[&str], deadline: Instant) -> Result<Vec<Value>, SourceError> {
        self.apify.run(usernames, self.breaker.admit().expect("a permit"), deadline).await
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

/// A profile source and what a test observes of it.
pub struct TestSource {
    pub breaker: Breaker,
    pub cache: Cache,
    pub metrics: Arc<Metrics>,
    pub fetcher: Arc<ProfileFetcher>,
}

/// The profile source at `endpoint` with its guard and a cache in the Redis at `cache`.
pub fn source(endpoint: &str, cache: &str, limits: SourceLimits) -> TestSource {
    let cache = Cache::connect(&cache.to_owned().into(), Duration::from_mins(1)).expect("a URL");
    let metrics = Arc::new(Metrics::default());
    let breaker = Breaker::new("profile-source", Policy::EXTERNAL);
    let config = ProfileSource { endpoint: endpoint.to_owned(), actor: ACTOR.to_owned(), limits };
    let apify =
        Apify::new(&config, TOKEN.into(), Limits::default(), breaker.clone(), metrics.clone()).expect("a client");
    let guard =
        SourceGuard { breaker: breaker.clone(), throttle: Throttle::new(cache.clone(), limits, metrics.clone()) };
    let fetcher = Arc::new(ProfileFetcher::new(apify, guard, cache.clone(), metrics.clone()));
    TestSource { breaker, cache, metrics, fetcher }
}

/// The first attempt of a job.
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

/// The input of an analysis that a caller requested.
pub fn analysis_input(username: &str) -> Value {
    json!({"username": username, "force_refresh": false, "origin": "api", "depth": 0})
}

/// Records the reported progress.
#[derive(Default)]
pub struct Reports(Mutex<Vec<(u8, String)>>);

impl Reports {
    pub fn all(&self) -> Vec<(u8, String)> {
        self.0.lock().clone()
    }
}

impl Progress for Reports {
    fn report(&self, percent: u8, stage: &str) {
        self.0.lock().push((percent, stage.to_owned()));
    }
}

/// A run context with a deadline in 30 s.
pub fn context() -> (RunContext, Arc<Reports>) {
    let reports = Arc::new(Reports::default());
    let context = RunContext {
        progress: reports.clone(),
        cancelled: CancellationToken::new(),
        deadline: Instant::now() + Duration::from_secs(30),
    };
    (context, reports)
}
