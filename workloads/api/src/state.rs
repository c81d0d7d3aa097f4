//! What every handler can reach.

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::{StreamExt, stream::BoxStream};
use switchyard_jobs::{
    announce::Announcer,
    cache::Cache,
    events::Hub,
    model::{Effects, Event, JobId, TenantId},
    store::{Store, StoreError},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::admin_key::AdminKey,
    auth::key_cache::{Identities, Strangers},
    auth::rate_limit::RateLimiter,
    http::concurrency::{Gate, Watches},
    http::metrics::HttpMetrics,
    http::problem::Problem,
    operations::platform_snapshot::Facts,
};

/// The API's state. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of the state.
pub struct Parts {
    pub store: Store,
    pub announcer: Announcer,
    pub cache: Cache,
    pub hub: Hub,
    pub facts: Facts,
    pub admin_key: AdminKey,
    pub limiter: RateLimiter,
    pub identities: Identities,
    pub strangers: Strangers,
    pub gate: Arc<Gate>,
    pub watches: Arc<Watches>,
    pub metrics: HttpMetrics,
    /// Ends all event streams: the process goes away.
    pub streams_end: CancellationToken,
    /// WebSockets that have not said their farewell yet; the process waits for them.
    pub sockets: TaskTracker,
    /// The OpenAPI document as sent.
    pub document: Bytes,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
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

    /// The events of a tenant's job after `after`, in order, until its final one.
    pub async fn watch(&self, tenant: TenantId, id: JobId, after: i64) -> Result<BoxStream<'static, Event>, Problem> {
        let job = self.store.job(tenant, id).await.map_err(|error| self.store_problem(error))?;
        job.ok_or_else(|| Problem::not_found("job"))?;
        Ok(self.hub.watch(Some(tenant), id, after).boxed())
    }

    /// What a caller is told when the store did not answer.
    pub fn store_problem(&self, error: StoreError) -> Problem {
        let wait = self.store.breaker().retry_after().unwrap_or(Duration::from_secs(2));
        match error {
            StoreError::Unavailable(_) | StoreError::Undone(_) => {
                tracing::warn!(%error, "the database did nothing");
                Problem::unavailable("The database is away or busy; nothing was done. Try again.").retry_after(wait)
            }
            StoreError::Unwritable(_) => {
                tracing::error!(%error, "the database did nothing");
                Problem::unavailable("The database cannot write now; nothing was done. Try again.").retry_after(wait)
            }
            StoreError::Overloaded => {
                tracing::warn!(%error, "the database is too slow for what is asked");
                Problem::unavailable("More is asked than the database can take; nothing was done. Try again.")
                    .retry_after(Duration::from_secs(1))
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
}
