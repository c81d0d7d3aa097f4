//! Routes of the operations port, which the operator reads. They name no tenant, and no job that is
//! not quarantined, so that those who may read the metrics may read them.

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use switchyard_contract::{HealthReport, LanesReport};

use crate::operations::platform_snapshot::SnapshotCache;

/// `/lanes`, of which the operator derives the sizes of worker pools, and `/health`, the health
/// report.
pub fn router(snapshots: SnapshotCache) -> Router {
    Router::new().route("/lanes", get(lanes)).route("/health", get(health_report)).with_state(snapshots)
}

async fn health_report(State(snapshots): State<SnapshotCache>) -> Json<HealthReport> {
    let recoveries = snapshots.last().map(|(_, snapshot)| snapshot.recoveries.clone()).unwrap_or_default();
    Json(HealthReport { health: snapshots.health(), recoveries })
}

/// Answers 503 while the database does not, because the operator must not scale by old figures.
async fn lanes(State(snapshots): State<SnapshotCache>) -> Result<Json<LanesReport>, impl IntoResponse> {
    match snapshots.fresh().await {
        Ok(snapshot) => Ok(Json(LanesReport { lanes: snapshot.lanes.clone() })),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))),
    }
}
