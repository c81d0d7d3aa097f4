//! Serves `/livez`, `/readyz` and `/metrics`.

use anyhow::Context;
use axum::{Router, http::StatusCode, routing::get};
use tokio_util::sync::CancellationToken;

use crate::telemetry::{heartbeat::Heartbeat, metrics::Metrics};

/// The routes. A standby is ready, since it can take over at any time.
pub fn router(metrics: Metrics, heartbeat: Heartbeat, shutdown: CancellationToken) -> Router {
    Router::new()
        .route(
            "/livez",
            get(move || async move {
                if heartbeat.is_alive() {
                    (StatusCode::OK, "ok")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "leader election has stalled for a minute")
                }
            }),
        )
        .route(
            "/readyz",
            get(move || async move {
                if shutdown.is_cancelled() {
                    (StatusCode::SERVICE_UNAVAILABLE, "shutting down")
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
/// If the address cannot be bound.
pub async fn serve(
    address: &str,
    metrics: Metrics,
    heartbeat: Heartbeat,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let app = router(metrics, heartbeat, shutdown.clone());
    let listener =
        tokio::net::TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .context("could not serve operations port")
}
