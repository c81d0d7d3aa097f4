//! The operations server of every workload: `/livez`, `/readyz` and `/metrics`, on a port of its
//! own.

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

/// How long a result is reused: several probes at once cost one check.
const RESULT_TTL: Duration = Duration::from_secs(2);
/// Limit for one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type ProbeResult = Result<(), String>;
type CheckFuture = Pin<Box<dyn Future<Output = ProbeResult> + Send>>;

/// A check with its last result.
struct Check {
    run: Box<dyn Fn() -> CheckFuture + Send + Sync>,
    last: Mutex<Option<(Instant, ProbeResult)>>,
}

impl Check {
    fn new<F, Fut>(run: F) -> Arc<Self>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ProbeResult> + Send + 'static,
    {
        Arc::new(Self { run: Box::new(move || Box::pin(run())), last: Mutex::new(None) })
    }

    async fn result(&self) -> ProbeResult {
        let mut last = self.last.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < RESULT_TTL
        {
            return result.clone();
        }
        let result = timeout(CHECK_TIMEOUT, (self.run)())
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())));
        *last = Some((Instant::now(), result.clone()));
        result
    }
}

/// The readiness and liveness probes of a process. Cheap to clone; clones share their state.
#[derive(Clone, Default)]
pub struct Probes {
    accepts_work: Arc<AtomicBool>,
    readiness: Option<Arc<Check>>,
    liveness: Option<Arc<Check>>,
}

impl Probes {
    /// Live, and not ready until [`Probes::set_ready`] is called.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition of readiness, checked at most every 2 s. The error's text becomes the body.
    #[must_use]
    pub fn with_readiness_check<F, Fut>(mut self, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.readiness = Some(Check::new(check));
        self
    }

    /// Adds a condition of liveness. A failure restarts the container: check only what a restart
    /// can repair.
    #[must_use]
    pub fn with_liveness_check<F, Fut>(mut self, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.liveness = Some(Check::new(check));
        self
    }

    /// States whether the process accepts work: not while it starts or drains.
    pub fn set_ready(&self, ready: bool) {
        self.accepts_work.store(ready, Ordering::Release);
    }

    async fn is_ready(&self) -> ProbeResult {
        if !self.accepts_work.load(Ordering::Acquire) {
            return Err("starting or draining".to_owned());
        }
        match &self.readiness {
            Some(check) => check.result().await,
            None => Ok(()),
        }
    }

    async fn is_live(&self) -> ProbeResult {
        match &self.liveness {
            Some(check) => check.result().await,
            None => Ok(()),
        }
    }
}

/// Serves the operations port at `addr` until `shutdown` is cancelled.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(
    addr: SocketAddr,
    registry: Arc<Registry>,
    probes: Probes,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::bind(addr).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {addr} for probes and metrics: {error}"))
    })?;
    axum::serve(listener, router(registry, probes)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// The routes of the operations port, for a caller that has its own listener.
pub fn router(registry: Arc<Registry>, probes: Probes) -> Router {
    Router::new()
        .route("/livez", get(async |State(probes): State<Probes>| probe_response(probes.is_live().await)))
        .route("/readyz", get(async |State(probes): State<Probes>| probe_response(probes.is_ready().await)))
        .with_state(probes)
        .route("/metrics", get(async move || metrics(&registry)))
}

fn probe_response(result: ProbeResult) -> impl IntoResponse {
    match result {
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
