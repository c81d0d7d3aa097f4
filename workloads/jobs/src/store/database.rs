//! The servers behind a [`Store`](super::Store), and which of them a statement goes to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde::de::DeserializeOwned;
use switchyard_contract::{ConnectionPool, Lanes, Retry, Tiers};
use tokio_postgres::{Row, types::Json};

use super::{
    address::Address,
    error::StoreError,
    failover,
    server::{Guard, Params, Server, primary_breaker, replica_breaker},
};

/// Share of a read's time that the primary gets when a replica could answer instead. A silent
/// primary must leave time to ask a replica.
const PRIMARY_SHARE: f64 = 0.5;

/// The platform's rules, as the statements need them.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub tiers: Tiers,
    pub lanes: Lanes,
    pub retry: Retry,
}

/// A primary with its read replicas. Cheap to clone: clones share the connections.
#[derive(Clone)]
pub(super) struct Database {
    pub primary: Server,
    pub replicas: Arc<[Server]>,
    /// Index of the replica that the next relaxed read asks first.
    next_replica: Arc<AtomicUsize>,
    pub policy: Arc<Policy>,
}

impl Database {
    /// A database without replicas. Connections are made when they are needed.
    pub fn new(address: &Address, application: &str, connections: ConnectionPool, policy: Policy) -> Self {
        Self {
            primary: Server::new(address, application, connections, primary_breaker()),
            replicas: Arc::default(),
            next_replica: Arc::default(),
            policy: Arc::new(policy),
        }
    }

    /// The same database with `replicas`; `connections` applies to each.
    pub fn with_replicas(mut self, replicas: &[Address], application: &str, connections: ConnectionPool) -> Self {
        self.replicas =
            replicas.iter().map(|address| Server::new(address, application, connections, replica_breaker())).collect();
        self
    }

    /// Whether there are replicas. Without them [`Database::relaxed`] asks the primary.
    pub fn is_replicated(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// The primary, even while its breaker is open. For calls that cost more when they are skipped
    /// than when they fail. A success lets the breaker's probes through early.
    pub const fn essential(&self) -> Executor<'_> {
        Executor { database: self, route: Route::Essential }
    }

    /// For reads that must see all committed writes: the primary. While it is unavailable a replica
    /// answers, which [`failover::track_stale_reads`] reports. Never for writes.
    pub const fn fresh(&self) -> Executor<'_> {
        Executor { database: self, route: Route::Fresh }
    }

    /// For reads that may be slightly stale: the replicas in turn, then the primary. Never for
    /// writes.
    pub const fn relaxed(&self) -> Executor<'_> {
        Executor { database: self, route: Route::Relaxed }
    }

    /// The primary, unless its breaker is open.
    pub const fn primary(&self) -> Executor<'_> {
        Executor { database: self, route: Route::Primary }
    }

    async fn replica_rows(&self, sql: &str, params: Params<'_>) -> Option<Vec<Row>> {
        let first = self.next_replica.fetch_add(1, Ordering::Relaxed);
        for offset in 0..self.replicas.len() {
            let replica = &self.replicas[first.wrapping_add(offset) % self.replicas.len()];
            // Another server may accept what this one refuses: a replica may lag behind a
            // migration, or cancel a query that conflicts with recovery.
            match replica.rows(sql, params, Guard::Breaker, 1.0).await {
                Ok(rows) => return Some(rows),
                Err(error) => tracing::debug!(%error, "could not read from a replica"),
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

/// Runs statements on the servers of one route. Every call ends within the task's
/// [deadline](crate::resilience::deadline).
pub(super) struct Executor<'a> {
    database: &'a Database,
    route: Route,
}

impl Executor<'_> {
    /// Runs a statement whose first column is a JSON document that is never null.
    pub async fn one<T: DeserializeOwned>(&self, sql: &str, params: Params<'_>) -> Result<T, StoreError> {
        self.optional(sql, params).await?.ok_or_else(|| StoreError::Unexpected("no row".to_owned()))
    }

    /// Runs a statement whose first column is a JSON document; no row and a null are `None`.
    pub async fn optional<T: DeserializeOwned>(&self, sql: &str, params: Params<'_>) -> Result<Option<T>, StoreError> {
        match self.rows(sql, params).await?.first() {
            None => Ok(None),
            Some(row) => Ok(row.try_get::<_, Option<Json<T>>>(0).map_err(unexpected)?.map(|Json(value)| value)),
        }
    }

    /// Runs a statement whose rows are one JSON document each.
    pub async fn many<T: DeserializeOwned>(&self, sql: &str, params: Params<'_>) -> Result<Vec<T>, StoreError> {
        self.rows(sql, params)
            .await?
            .iter()
            .map(|row| row.try_get::<_, Json<T>>(0).map(|Json(value)| value).map_err(unexpected))
            .collect()
    }

    /// Runs a statement.
    pub async fn rows(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        let Database { primary, replicas, .. } = self.database;
        match self.route {
            Route::Primary => primary.rows(sql, params, Guard::Breaker, 1.0).await,
            Route::Essential => primary.rows(sql, params, Guard::None, 1.0).await,
            Route::Fresh if replicas.is_empty() => primary.rows(sql, params, Guard::Breaker, 1.0).await,
            Route::Fresh => match primary.rows(sql, params, Guard::Breaker, PRIMARY_SHARE).await {
                Err(error) if error.is_transient() => match self.database.replica_rows(sql, params).await {
                    Some(rows) => {
                        failover::record_stale_read();
                        Ok(rows)
                    }
                    None => Err(error),
                },
                answer => answer,
            },
            Route::Relaxed => match self.database.replica_rows(sql, params).await {
                Some(rows) => Ok(rows),
                None => primary.rows(sql, params, Guard::Breaker, 1.0).await,
            },
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err requires")]
fn unexpected(error: tokio_postgres::Error) -> StoreError {
    use std::error::Error as _;
    StoreError::Unexpected(error.source().map_or_else(|| error.to_string(), ToString::to_string))
}
