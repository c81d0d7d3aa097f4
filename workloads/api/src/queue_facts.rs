//! `/lanes` on the operations port: what the operator works out the size of worker pools from.
//!
//! It names no tenant and no job, so whoever may read the metrics may read it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use serde::Serialize;
use switchyard_contract::QueueFacts;
use switchyard_jobs::store::Store;
use tokio::{sync::Mutex, time::timeout};

/// How long an answer is good: every pool of the platform asks at about the same time.
const FRESH: Duration = Duration::from_secs(5);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, Serialize)]
struct Facts {
    lanes: Vec<QueueFacts>,
}

#[derive(Clone)]
struct Asked {
    store: Store,
    last: Arc<Mutex<Option<(Instant, Facts)>>>,
}

/// The route. It answers 503 while the database does not: no facts are better than old ones.
pub fn router(store: Store) -> Router {
    Router::new().route("/lanes", get(lanes)).with_state(Asked { store, last: Arc::default() })
}

async fn lanes(State(asked): State<Asked>) -> Result<Json<Facts>, impl IntoResponse> {
    let mut last = asked.last.lock().await;
    if let Some((at, facts)) = &*last
        && at.elapsed() < FRESH
    {
        return Ok(Json(facts.clone()));
    }
    match timeout(PATIENCE, asked.store.lanes()).await {
        Ok(Ok(lanes)) => {
            let facts = Facts { lanes };
            *last = Some((Instant::now(), facts.clone()));
            Ok(Json(facts))
        }
        Ok(Err(error)) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("no answer from the database within {PATIENCE:?}\n"))),
    }
}
