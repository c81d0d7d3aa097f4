//! What the tests share: a stand-in for Apify in this process, jobs, and a progress that is kept.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::Router;
use serde_json::{Value, json};
use switchyard_apify_stand_in::Options;
use switchyard_contract::{Kind, Lane, ProfileSource};
use switchyard_jobs::{
    handler::{Claimed, Progress, RunContext, Step},
    model::{JobId, TenantId},
};
use switchyard_worker::{
    apify::{Apify, Limits},
    metrics::Metrics,
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

/// A client for the stand-in at `endpoint`.
pub fn client(endpoint: &str, actor: &str, token: &str, limits: Limits) -> Apify {
    let source = ProfileSource { endpoint: endpoint.to_owned(), actor: actor.to_owned() };
    Apify::new(&source, token.into(), limits, Arc::new(Metrics::default())).expect("a client")
}

/// A first attempt at a job.
pub fn job(kind: Kind, username: &str, input: Value, step: Step) -> Claimed {
    let id = JobId::fresh();
    Claimed {
        id,
        root: id,
        tenant: TenantId(Uuid::nil()),
        kind,
        lane: Lane::Normal,
        attempt: 1,
        username: username.to_owned(),
        input,
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
