//! What every handler can reach.

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use switchyard_jobs::{
    announce::Announcer,
    cache::Cache,
    events::Hub,
    model::{Effects, Event, JobId, TenantId},
    store::{Store, StoreError},
};
use tokio_util::sync::CancellationToken;

use crate::{admin_key::AdminKey, auth::Identities, http_metrics::HttpMetrics, problem::Problem, rate::RateLimiter};

/// The API's state. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of the state.
pub struct Parts {
    pub store: Store,
    pub announcer: Announcer,
    pub cache: Cache,
    pub hub: Hub,
    pub admin_key: AdminKey,
    pub limiter: RateLimiter,
    pub identities: Identities,
    pub metrics: HttpMetrics,
    /// Ends all event streams: the process goes away.
    pub streams_end: CancellationToken,
    /// The OpenAPI document as sent.
    pub document: Bytes,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// A watched job.
pub struct Watch {
    /// Its events, in order, until its final one.
    pub events: BoxStream<'static, Event>,
    /// Whether it had ended before the watching began, so that there may be no event left to see.
    pub ended: bool,
}

impl App {
    /// The state made of `parts`.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Tells workers and watchers, without waiting for the broker. What does not get out is found by the relay and by the watchers' own look.
    pub fn announce(&self, effects: Effects) {
        self.announcer.announce(effects);
    }

    /// The events of a tenant's job after `after`.
    pub async fn watch(&self, tenant: TenantId, id: JobId, after: i64) -> Result<Watch, Problem> {
        let job = self.store.job(tenant, id).await.map_err(store_problem)?;
        let job = job.ok_or_else(|| Problem::not_found("job"))?;
        // Of an ended job nothing more comes, and a caller that has seen its last event already must not wait for one.
        if job.state.is_terminal() {
            let events = self.store.events_after(Some(tenant), id, after).await.map_err(store_problem)?;
            return Ok(Watch { events: stream::iter(events).boxed(), ended: true });
        }
        Ok(Watch { events: self.hub.watch(Some(tenant), id, after).boxed(), ended: false })
    }
}

/// What a caller is told when the store did not answer.
pub fn store_problem(error: StoreError) -> Problem {
    let wait = Duration::from_secs(2);
    match error {
        StoreError::Unavailable(_) => {
            tracing::warn!(%error, "no database connection");
            Problem::unavailable("The database is away or busy; nothing was done. Try again.").retry_after(wait)
        }
        StoreError::Interrupted(_) => {
            tracing::warn!(%error, "the database broke off");
            Problem::unavailable(
                "The database broke off; the request may have taken effect. Try again, with the same Idempotency-Key if it had one.",
            )
            .retry_after(wait)
        }
        StoreError::Refused { .. } | StoreError::Unexpected(_) => {
            tracing::error!(%error, "the database's answer is not what this version expects");
            Problem::internal()
        }
    }
}
