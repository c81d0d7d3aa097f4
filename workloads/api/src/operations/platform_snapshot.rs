//! What the database knows of the platform as a whole, kept at hand: for `/lanes` on the operations port, from which the operator works out the size of worker
//! pools, for metrics, and for the health score.
//!
//! It names no tenant, and jobs only where one was quarantined, so whoever may read the metrics may read it.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use switchyard_contract::{Health, HealthReport, LanesReport};
use switchyard_jobs::{
    broker::Broker,
    cache::Cache,
    resilience::State as Breaker,
    store::{self, Store},
};
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::operations::health::{self, Surroundings};

/// How long an answer is good: every pool of the platform asks at about the same time.
const FRESH: Duration = Duration::from_secs(5);
/// How often the database is asked when nobody else does, for metrics.
const EVERY: Duration = Duration::from_secs(15);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// The facts with their age. Cheap to clone.
#[derive(Clone)]
pub struct Facts(Arc<Inner>);

struct Inner {
    store: Store,
    broker: Broker,
    cache: Cache,
    /// Held while somebody asks, so that others wait for the same answer; when there was none, and why.
    asking: Mutex<Option<(Instant, String)>>,
    last: RwLock<Option<(Instant, Arc<store::Facts>)>>,
}

impl Facts {
    /// Nothing known yet.
    pub fn new(store: Store, broker: Broker, cache: Cache) -> Self {
        Self(Arc::new(Inner { store, broker, cache, asking: Mutex::default(), last: RwLock::default() }))
    }

    /// The last answer with its age.
    pub fn last(&self) -> Option<(Duration, Arc<store::Facts>)> {
        let last = self.0.last.read().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(at, facts)| (at.elapsed(), facts.clone()))
    }

    fn fresh(&self) -> Option<Arc<store::Facts>> {
        self.last().filter(|(age, _)| *age < FRESH).map(|(_, facts)| facts)
    }

    /// An answer that is five seconds old at most, or why there is none: no facts are better than old ones.
    pub async fn get(&self) -> Result<Arc<store::Facts>, String> {
        if let Some(facts) = self.fresh() {
            return Ok(facts);
        }
        let mut failed = self.0.asking.lock().await;
        if let Some(facts) = self.fresh() {
            return Ok(facts);
        }
        if let Some((at, error)) = &*failed
            && at.elapsed() < FRESH
        {
            return Err(error.clone());
        }
        let asked = match timeout(PATIENCE, self.0.store.facts()).await {
            Ok(Ok(facts)) => {
                let facts = Arc::new(facts);
                *self.0.last.write().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), facts.clone()));
                Ok(facts)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer from the database within {PATIENCE:?}")),
        };
        *failed = asked.as_ref().err().map(|error| (Instant::now(), error.clone()));
        asked
    }

    /// How well the platform does, as this process sees it.
    pub fn health(&self) -> Health {
        let (age, facts) = self.last().unzip();
        health::of(&Surroundings {
            facts: facts.as_deref(),
            age,
            lanes: &self.0.store.policy().lanes,
            writable: self.0.store.is_writable(),
            broker_connected: self.0.broker.is_connected(),
            // Its breaker is open for a second at a time, and then tries.
            cache_away: self.0.cache.breaker().state() != Breaker::Closed,
        })
    }

    /// The platform's lanes with their limits.
    pub fn lanes(&self) -> &switchyard_contract::Lanes {
        &self.0.store.policy().lanes
    }

    /// Sees to it that the last answer is a recent one. Runs for ever.
    pub async fn keep(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.get().await {
                tracing::debug!(error, "the platform's figures were not read; trying again");
            }
        }
    }
}

/// The routes. Of the lanes there is no answer but 503 while the database gives none.
pub fn router(facts: Facts) -> Router {
    Router::new().route("/lanes", get(lanes)).route("/outlook", get(outlook)).with_state(facts)
}

async fn outlook(State(facts): State<Facts>) -> Json<HealthReport> {
    let recoveries = facts.last().map(|(_, known)| known.recoveries.clone()).unwrap_or_default();
    Json(HealthReport { health: facts.health(), recoveries })
}

async fn lanes(State(facts): State<Facts>) -> Result<Json<LanesReport>, impl IntoResponse> {
    match facts.get().await {
        Ok(known) => Ok(Json(LanesReport { lanes: known.lanes.clone() })),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))),
    }
}
