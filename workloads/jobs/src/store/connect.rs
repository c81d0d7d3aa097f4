use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde::de::DeserializeOwned;
use switchyard_contract::{Config, ConnectionPool, Lanes, Mount, Retry, Tiers};
use tokio_postgres::{Row, types::Json};

use super::{
    StoreError,
    address::{Address, AddressError},
    admission::{Submissions, submissions},
    failover,
    server::{Guard, Params, Server, primary_breaker, replica_breaker},
    work::{Completions, completions},
};
use crate::resilience::Breaker;

/// What a primary gets of a read's time where a replica could stand in: a primary that is silent must leave time to ask one.
const PRIMARY_SHARE: f64 = 0.5;

/// The platform's rules, as the statements need them.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub tiers: Tiers,
    pub lanes: Lanes,
    pub retry: Retry,
}

/// The jobs, tenants and credits. Cheap to clone: clones share the connections.
#[derive(Clone)]
pub struct Store {
    primary: Server,
    replicas: Arc<[Server]>,
    /// Which replica is next.
    turn: Arc<AtomicUsize>,
    pub(super) policy: Arc<Policy>,
    pub(super) submissions: Submissions,
    pub(super) completions: Completions,
}

impl Store {
    /// A store for the workload that `config` describes. Connections are made when they are needed: a database that is away shows at the first call.
    pub fn connect(config: &Config, mount: &Mount) -> Result<Self, AddressError> {
        let (role, pooler) = (config.database.role, config.database.pooler);
        let address = Address::for_role(mount, role, pooler)?;
        let replicas = Address::replicas(mount, role, pooler)?;
        let policy = Policy { tiers: config.tiers, lanes: config.lanes, retry: config.retry.clone() };
        let name = match &config.workload {
            switchyard_contract::Workload::Setup { .. } => "switchyard-setup".to_owned(),
            switchyard_contract::Workload::Api => "switchyard-api".to_owned(),
            switchyard_contract::Workload::Pool { name, .. } => format!("switchyard-{name}"),
        };
        Ok(Self::open(&address, &name, config.database.connections, policy).with_replicas(
            &replicas,
            &name,
            config.database.connections,
        ))
    }

    /// A store at `address`, without replicas. `application` is what `pg_stat_activity` shows. Needs a running tokio runtime when it is first used.
    pub fn open(address: &Address, application: &str, connections: ConnectionPool, policy: Policy) -> Self {
        Self {
            primary: Server::new(address, application, connections, primary_breaker()),
            replicas: Arc::default(),
            turn: Arc::default(),
            policy: Arc::new(policy),
            submissions: submissions(),
            completions: completions(),
        }
    }

    /// The same store with read replicas. Each is a server of its own, so `connections` holds for each.
    pub fn with_replicas(mut self, replicas: &[Address], application: &str, connections: ConnectionPool) -> Self {
        self.replicas =
            replicas.iter().map(|address| Server::new(address, application, connections, replica_breaker())).collect();
        self
    }

    /// The rules that this store applies.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Connections to the primary, open and free, and callers that wait for one.
    pub fn pool_status(&self) -> deadpool_postgres::Status {
        self.primary.status()
    }

    /// The primary's circuit breaker.
    pub fn breaker(&self) -> &Breaker {
        self.primary.breaker()
    }

    /// Whether the primary has not failed to write, for want of room or because it is a standby, within the last half minute.
    pub fn is_writable(&self) -> bool {
        self.primary.is_writable()
    }

    /// The replicas' circuit breakers, in the order of their addresses.
    pub fn replica_breakers(&self) -> impl Iterator<Item = &Breaker> {
        self.replicas.iter().map(Server::breaker)
    }

    /// Whether there are replicas: without them [`Store::relaxed`] asks the primary.
    pub(super) fn replicated(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// One trip to the primary and back, for readiness; made whatever the breaker says, which hears how it went.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.essential().rows("select 1", &[]).await.map(drop)
    }

    /// The primary, whatever its breaker says: for what must be tried, because giving up on it costs more than a failed call. That a call succeeds is
    /// evidence which lets the breaker's probes through early.
    pub(super) const fn essential(&self) -> Via<'_> {
        Via { store: self, route: Route::Essential }
    }

    /// For reads that must show all that was written: the primary; while it is away, a replica, which [`failover::track_stale_reads`] tells. Never for writes.
    pub(super) const fn fresh(&self) -> Via<'_> {
        Via { store: self, route: Route::Fresh }
    }

    /// For reads that may be a little old: a replica, the next one when it does not answer, and the primary in the end. Never for writes.
    pub(super) const fn relaxed(&self) -> Via<'_> {
        Via { store: self, route: Route::Relaxed }
    }

    const fn primary(&self) -> Via<'_> {
        Via { store: self, route: Route::Primary }
    }

    /// As [`Via::one`], from the primary, unless its breaker is open.
    pub(super) async fn one<T: DeserializeOwned>(&self, sql: &str, params: Params<'_>) -> Result<T, StoreError> {
        self.primary().one(sql, params).await
    }

    /// As [`Via::optional`], from the primary, unless its breaker is open.
    pub(super) async fn optional<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Option<T>, StoreError> {
        self.primary().optional(sql, params).await
    }

    /// As [`Via::many`], from the primary, unless its breaker is open.
    pub(super) async fn many<T: DeserializeOwned>(&self, sql: &str, params: Params<'_>) -> Result<Vec<T>, StoreError> {
        self.primary().many(sql, params).await
    }

    /// As [`Via::rows`], from the primary, unless its breaker is open.
    pub(super) async fn rows(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        self.primary().rows(sql, params).await
    }

    async fn replica_rows(&self, sql: &str, params: Params<'_>) -> Option<Vec<Row>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for offset in 0..self.replicas.len() {
            let replica = &self.replicas[first.wrapping_add(offset) % self.replicas.len()];
            // Whatever a replica has against a statement, another server may not have: it may lag behind a migration, or be short of time for a snapshot.
            match replica.rows(sql, params, Guard::Breaker, 1.0).await {
                Ok(rows) => return Some(rows),
                Err(error) => tracing::debug!(%error, "a replica did not answer"),
            }
        }
        None
    }
}

#[derive(Debug, Clone, Copy)]
enum Route {
    Primary,
    Essential,
    Fresh,
    Relaxed,
}

/// A way to the database. All calls end within the task's [deadline](crate::resilience::deadline).
pub(super) struct Via<'a> {
    store: &'a Store,
    route: Route,
}

impl Via<'_> {
    /// Runs a statement whose first column is a document that is always there.
    pub async fn one<T: DeserializeOwned>(&self, sql: &str, params: Params<'_>) -> Result<T, StoreError> {
        self.optional(sql, params).await?.ok_or_else(|| StoreError::Unexpected("no row".to_owned()))
    }

    /// Runs a statement whose first column is a document; no row and a null are `None`.
    pub async fn optional<T: DeserializeOwned>(&self, sql: &str, params: Params<'_>) -> Result<Option<T>, StoreError> {
        match self.rows(sql, params).await?.first() {
            None => Ok(None),
            Some(row) => Ok(row.try_get::<_, Option<Json<T>>>(0).map_err(unexpected)?.map(|Json(value)| value)),
        }
    }

    /// Runs a statement whose first column is a document, one a row.
    pub async fn many<T: DeserializeOwned>(&self, sql: &str, params: Params<'_>) -> Result<Vec<T>, StoreError> {
        self.rows(sql, params)
            .await?
            .iter()
            .map(|row| row.try_get::<_, Json<T>>(0).map(|Json(value)| value).map_err(unexpected))
            .collect()
    }

    /// Runs a statement.
    pub async fn rows(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        let Store { primary, replicas, .. } = self.store;
        match self.route {
            Route::Primary => primary.rows(sql, params, Guard::Breaker, 1.0).await,
            Route::Essential => primary.rows(sql, params, Guard::None, 1.0).await,
            Route::Fresh if replicas.is_empty() => primary.rows(sql, params, Guard::Breaker, 1.0).await,
            Route::Fresh => match primary.rows(sql, params, Guard::Breaker, PRIMARY_SHARE).await {
                Err(error) if error.is_transient() => match self.store.replica_rows(sql, params).await {
                    Some(rows) => {
                        failover::record_stale_read();
                        Ok(rows)
                    }
                    None => Err(error),
                },
                answer => answer,
            },
            Route::Relaxed => match self.store.replica_rows(sql, params).await {
                Some(rows) => Ok(rows),
                None => primary.rows(sql, params, Guard::Breaker, 1.0).await,
            },
        }
    }
}

fn unexpected(error: tokio_postgres::Error) -> StoreError {
    use std::error::Error as _;
    StoreError::Unexpected(error.source().map_or_else(|| error.to_string(), ToString::to_string))
}
