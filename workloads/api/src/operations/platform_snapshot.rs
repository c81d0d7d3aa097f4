//! The platform snapshot: what the database knows of all queues and workers, kept for a few
//! seconds.
//!
//! The operations port, the metrics and the health score read it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use switchyard_contract::{Health, Lanes};
use switchyard_jobs::{
    broker::Broker,
    cache::Cache,
    resilience::State as BreakerState,
    store::{PlatformSnapshot, Store},
};
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::operations::health::{self, HealthInput};

/// For how long a snapshot is fresh. Every pool of the platform reads at about the same time.
const FRESH: Duration = Duration::from_secs(5);
/// How often the snapshot is refreshed for the metrics.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15);
/// Time for one query of the database.
const QUERY_TIMEOUT: Duration = Duration::from_secs(4);

/// The last snapshot with its age. Cheap to clone.
#[derive(Clone)]
pub struct SnapshotCache(Arc<Inner>);

struct Inner {
    store: Store,
    broker: Broker,
    cache: Cache,
    /// Held during a query, so that concurrent callers share it. Holds the last failure.
    query: Mutex<Option<(Instant, String)>>,
    last: RwLock<Option<(Instant, Arc<PlatformSnapshot>)>>,
}

impl SnapshotCache {
    /// Makes an empty cache.
    pub fn new(store: Store, broker: Broker, cache: Cache) -> Self {
        Self(Arc::new(Inner { store, broker, cache, query: Mutex::default(), last: RwLock::default() }))
    }

    /// The last snapshot with its age, however old; `None` before the first.
    pub fn last(&self) -> Option<(Duration, Arc<PlatformSnapshot>)> {
        self.0.last.read().as_ref().map(|(at, snapshot)| (at.elapsed(), snapshot.clone()))
    }

    fn last_if_fresh(&self) -> Option<Arc<PlatformSnapshot>> {
        self.last().filter(|(age, _)| *age < FRESH).map(|(_, snapshot)| snapshot)
    }

    /// A snapshot that is at most five seconds old.
    ///
    /// # Errors
    /// Why the database did not answer. A failure is kept for five seconds too, so that callers do
    /// not add to the load.
    pub async fn fresh(&self) -> Result<Arc<PlatformSnapshot>, String> {
        if let Some(snapshot) = self.last_if_fresh() {
            return Ok(snapshot);
        }
        let mut failed = self.0.query.lock().await;
        if let Some(snapshot) = self.last_if_fresh() {
            return Ok(snapshot);
        }
        if let Some((at, error)) = &*failed
            && at.elapsed() < FRESH
        {
            return Err(error.clone());
        }
        let queried = match timeout(QUERY_TIMEOUT, self.0.store.platform_snapshot()).await {
            Ok(Ok(snapshot)) => {
                let snapshot = Arc::new(snapshot);
                *self.0.last.write() = Some((Instant::now(), snapshot.clone()));
                Ok(snapshot)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the database did not answer within {QUERY_TIMEOUT:?}")),
        };
        *failed = queried.as_ref().err().map(|error| (Instant::now(), error.clone()));
        queried
    }

    /// The health score of the platform, as this process sees it.
    pub fn health(&self) -> Health {
        let (age, snapshot) = self.last().unzip();
        health::score(&HealthInput {
            snapshot: snapshot.as_deref(),
            age,
            lanes: &self.0.store.policy().lanes,
            writable: self.0.store.is_writable(),
            broker_connected: self.0.broker.is_connected(),
            // Its breaker opens for a second at a time, and is half-open in between.
            cache_available: self.0.cache.breaker().state() == BreakerState::Closed,
        })
    }

    /// The limits of the platform's lanes.
    pub fn lanes(&self) -> &Lanes {
        &self.0.store.policy().lanes
    }

    /// Refreshes the snapshot for ever.
    pub async fn run(&self) {
        let mut ticks = interval(REFRESH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.fresh().await {
                tracing::debug!(error, "could not refresh the platform snapshot");
            }
        }
    }
}
