//! The state that handlers share.

use std::{ops::Deref, sync::Arc};

use axum::{body::Bytes, extract::FromRef};
use switchyard_jobs::{announce::Announcer, cache::Cache, events::Hub, model::Effects, store::Store};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::authenticator::Authenticator,
    http::{concurrency::StreamLimiter, layers::RequestContext, metrics::HttpMetrics},
    operations::platform_snapshot::SnapshotCache,
};

/// The shared state. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<AppState>);

/// The parts of the state.
pub struct AppState {
    pub store: Store,
    pub announcer: Announcer,
    pub cache: Cache,
    pub hub: Hub,
    pub snapshots: SnapshotCache,
    pub auth: Arc<Authenticator>,
    pub streams: Arc<StreamLimiter>,
    pub requests: RequestContext,
    /// Ends all event streams at shutdown.
    pub streams_end: CancellationToken,
    /// Open WebSockets, for whose close handshake the shutdown waits.
    pub sockets: TaskTracker,
    /// The OpenAPI document as JSON.
    pub document: Bytes,
}

impl Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

impl FromRef<App> for Arc<Authenticator> {
    fn from_ref(app: &App) -> Self {
        app.auth.clone()
    }
}

impl App {
    /// Wraps the state.
    pub fn new(state: AppState) -> Self {
        Self(Arc::new(state))
    }

    /// The metrics of HTTP requests.
    pub fn metrics(&self) -> &HttpMetrics {
        &self.requests.metrics
    }

    /// Announces jobs to workers and events to watchers, without waiting for the broker. The relay
    /// and the watchers find in the database what the broker does not deliver.
    pub fn announce(&self, effects: Effects) {
        self.announcer.announce(effects);
    }
}
