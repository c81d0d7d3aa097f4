//! `/livez`, `/readyz` and `/metrics`, alike in every workload, on a port of their own.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::TcpListener, sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long an answer is good: probes of many askers cost one check.
const FRESH: Duration = Duration::from_secs(2);
/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(2);

type Answer = Result<(), String>;
type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A check with its last answer.
struct Check {
    ask: Box<dyn Fn() -> Asking + Send + Sync>,
    last: Mutex<Option<(Instant, Answer)>>,
}

impl Check {
    fn new<F, Fut>(ask: F) -> Arc<Self>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        Arc::new(Self { ask: Box::new(move || Box::pin(ask())), last: Mutex::new(None) })
    }

    async fn answer(&self) -> Answer {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = timeout(PATIENCE, (self.ask)())
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// What `/readyz` and `/livez` say. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness {
    open: Arc<AtomicBool>,
    ready: Option<Arc<Check>>,
    live: Option<Arc<Check>>,
}

impl Readiness {
    /// Not ready until [`Readiness::set`] says so; alive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ready only while `check` says so as well; an error's text is the answer's body. Asked at most every 2 s.
    #[must_use]
    pub fn with_check<F, Fut>(mut self, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.ready = Some(Check::new(check));
        self
    }

    /// Alive only while `check` says so. Failing it gets the process restarted: check nothing that a restart cannot mend.
    #[must_use]
    pub fn with_live_check<F, Fut>(mut self, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.live = Some(Check::new(check));
        self
    }

    /// Says whether the process wants work; false from the beginning and while it drains.
    pub fn set(&self, ready: bool) {
        self.open.store(ready, Ordering::Release);
    }

    async fn is_ready(&self) -> Answer {
        if !self.open.load(Ordering::Acquire) {
            return Err("starting or draining".to_owned());
        }
        match &self.ready {
            Some(check) => check.answer().await,
            None => Ok(()),
        }
    }

    async fn is_live(&self) -> Answer {
        match &self.live {
            Some(check) => check.answer().await,
            None => Ok(()),
        }
    }
}

/// Serves until `shutdown` fires, or fails to listen.
pub async fn serve(
    addr: SocketAddr,
    registry: Arc<Registry>,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::bind(addr).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {addr} for probes and metrics: {error}"))
    })?;
    axum::serve(listener, router(registry, readiness)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// The routes, for those who listen themselves.
pub fn router(registry: Arc<Registry>, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async |State(r): State<Readiness>| said(r.is_live().await)))
        .route("/readyz", get(async |State(r): State<Readiness>| said(r.is_ready().await)))
        .with_state(readiness)
        .route("/metrics", get(async move || metrics(&registry)))
}

fn said(answer: Answer) -> impl IntoResponse {
    match answer {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn metrics(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n")),
    }
}
