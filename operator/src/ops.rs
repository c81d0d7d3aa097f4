//! `/livez`, `/readyz`, `/metrics`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::{Router, http::StatusCode, routing::get};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The election beats at least this often while the process is alive.
const SILENCE: Duration = Duration::from_secs(60);

/// The last sign of life of the election, which is what the whole operator hangs on.
#[derive(Debug, Clone)]
pub struct Pulse {
    started: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { started: Instant::now(), last: Arc::default() }
    }
}

impl Pulse {
    /// Gives a sign of life.
    pub fn beat(&self) {
        self.last.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Whether there was one lately.
    pub fn is_alive(&self) -> bool {
        self.started.elapsed().saturating_sub(Duration::from_secs(self.last.load(Ordering::Relaxed))) < SILENCE
    }
}

/// What is served. A standby is ready: it could take over at any time.
pub fn router(metrics: Metrics, pulse: Pulse, stopping: CancellationToken) -> Router {
    Router::new()
        .route(
            "/livez",
            get(move || async move {
                if pulse.is_alive() {
                    (StatusCode::OK, "ok")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "the election has been silent for a minute")
                }
            }),
        )
        .route(
            "/readyz",
            get(move || async move {
                if stopping.is_cancelled() {
                    (StatusCode::SERVICE_UNAVAILABLE, "stopping")
                } else {
                    (StatusCode::OK, "ok")
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.render())
            }),
        )
}

/// Serves on `address` until `shutdown`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(address: &str, metrics: Metrics, pulse: Pulse, shutdown: CancellationToken) -> anyhow::Result<()> {
    let app = router(metrics, pulse, shutdown.clone());
    let listener =
        tokio::net::TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .context("the operations server ended")
}
