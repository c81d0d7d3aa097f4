//! One PostgreSQL server: its connection pool, time limits and circuit breaker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolConfig, PoolError, QueueMode, RecyclingMethod, Runtime, Status,
    TimeoutType, Timeouts,
};
use parking_lot::Mutex;
use switchyard_contract::ConnectionPool;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{
    Row,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{
    address::{Address, CONNECT_TIMEOUT},
    error::StoreError,
    tls::Tls,
};
use crate::resilience::{
    breaker::{Breaker, Policy as BreakerPolicy},
    deadline,
};

/// Added to the server's statement timeout before the client abandons the connection.
const RESPONSE_MARGIN: Duration = Duration::from_secs(1);
/// Time without an answer that counts as a failure of the server. A caller with less time than this
/// proves nothing when it leaves.
const SILENCE_THRESHOLD: Duration = Duration::from_secs(1);
/// How long a server counts as unwritable after it refused a write.
const UNWRITABLE_PERIOD: Duration = Duration::from_secs(30);
/// Limit for a cancel request.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle time after which an overflow connection is closed.
const OVERFLOW_IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between two checks for idle overflow connections.
const OVERFLOW_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Retries of a statement that PostgreSQL rolled back because of others.
const ROLLBACK_RETRIES: u32 = 3;

/// Parameters of a statement with their types.
pub(super) type Params<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// One PostgreSQL server. Cheap to clone; clones share the pool and the breaker.
#[derive(Clone)]
pub(super) struct Server {
    pool: Pool,
    tls: Tls,
    breaker: Breaker,
    /// Connections that stay open; those beyond are overflow.
    permanent: usize,
    wait_timeout: Duration,
    response_timeout: Duration,
    /// Whether a task closes idle overflow connections now.
    trimming: Arc<AtomicBool>,
    /// Time of the last refused write.
    last_refused_write: Arc<Mutex<Option<Instant>>>,
}

/// Whether a call needs a permit of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// The call is rejected while the breaker is open.
    Breaker,
    /// The call is made in any state; its outcome is recorded.
    None,
}

/// A failed call, and whether it counts as a failure of the server.
struct Failure {
    error: StoreError,
    server_fault: bool,
}

impl Server {
    /// Creates a pool for the server at `address`; connects when a statement needs it.
    /// `application` is the `application_name` in `pg_stat_activity`.
    pub fn new(address: &Address, application: &str, connections: ConnectionPool, breaker: Breaker) -> Self {
        let mut config = address.config().clone();
        // PostgreSQL truncates longer names, with a notice.
        config.application_name(application.chars().take(63).collect::<String>());
        let manager = Manager::from_config(
            config,
            address.tls().clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let permanent = connections.size.max(1) as usize;
        let mut sizes = PoolConfig::new(permanent + connections.overflow as usize);
        // Last in, first out: the overflow connections become idle.
        sizes.queue_mode = QueueMode::Lifo;
        let pool = Pool::builder(manager)
            .config(sizes)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool with a runtime can be built");
        Self {
            pool,
            tls: address.tls().clone(),
            breaker,
            permanent,
            wait_timeout: Duration::from_secs(connections.wait_timeout_seconds.max(1)),
            response_timeout: Duration::from_secs(connections.statement_timeout_seconds.max(1)) + RESPONSE_MARGIN,
            trimming: Arc::default(),
            last_refused_write: Arc::default(),
        }
    }

    /// Whether the server has refused no write, for disk full or read-only, within
    /// [`UNWRITABLE_PERIOD`].
    pub fn is_writable(&self) -> bool {
        let last = *self.last_refused_write.lock();
        last.is_none_or(|at| at.elapsed() >= UNWRITABLE_PERIOD)
    }

    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub fn status(&self) -> Status {
        self.pool.status()
    }

    /// Runs a statement within the server's time limits and `share` of the time to the task's
    /// deadline.
    ///
    /// A statement that PostgreSQL rolled back because of a deadlock is retried. Deadlocks can
    /// happen: requests that join a pipeline lock its row with `skip locked`, but PostgreSQL still
    /// waits if the row has changed since the statement began. The transaction that ends the
    /// pipeline may in turn wait for the tenant of those requests.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Unavailable`] also while the breaker is open.
    pub async fn rows(&self, sql: &str, params: Params<'_>, guard: Guard, share: f64) -> Result<Vec<Row>, StoreError> {
        let until = deadline::remaining().map(|left| Instant::now() + left.mul_f64(share));
        let mut rolled_back = 0;
        loop {
            match self.guarded_query(sql, params, guard, until).await {
                Err(StoreError::RolledBack(_)) if rolled_back < ROLLBACK_RETRIES => rolled_back += 1,
                answer => return answer,
            }
        }
    }

    async fn guarded_query(
        &self,
        sql: &str,
        params: Params<'_>,
        guard: Guard,
        until: Option<Instant>,
    ) -> Result<Vec<Row>, StoreError> {
        match guard {
            Guard::Breaker => {
                let permit = self.breaker.admit().map_err(|open| StoreError::Unavailable(open.to_string()))?;
                match self.query(sql, params, until).await {
                    Ok(rows) => {
                        permit.succeeded();
                        Ok(rows)
                    }
                    Err(Failure { error, server_fault: true }) => {
                        permit.failed();
                        Err(error)
                    }
                    // An answer, even a refusal, shows that the server works. A wait for a
                    // connection shows nothing.
                    Err(Failure { error, server_fault: false }) => {
                        if !error.is_transient() || matches!(error, StoreError::Unwritable(_)) {
                            permit.succeeded();
                        }
                        Err(error)
                    }
                }
            }
            Guard::None => match self.query(sql, params, until).await {
                Ok(rows) => {
                    self.breaker.record_success();
                    Ok(rows)
                }
                Err(failure) => {
                    if failure.server_fault {
                        self.breaker.record_failure();
                    }
                    Err(failure.error)
                }
            },
        }
    }

    async fn query(&self, sql: &str, params: Params<'_>, until: Option<Instant>) -> Result<Vec<Row>, Failure> {
        let client = self.connection(until).await?;
        let limit = cut(self.response_timeout, until);
        let mut in_flight = InFlightQuery { client: Some(client), tls: &self.tls, began: Instant::now() };
        match timeout(limit, in_flight.client().query_typed(sql, params)).await {
            Ok(Ok(rows)) => {
                in_flight.finish();
                self.trim();
                Ok(rows)
            }
            Ok(Err(error)) => {
                let server_fault = is_server_fault(&error);
                // After a failover new connections may reach the primary, while the old ones reach
                // a standby.
                if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
                    in_flight.close();
                    self.pool.retain(|_, _| false);
                }
                in_flight.finish();
                let error = StoreError::from(error);
                if matches!(error, StoreError::Unwritable(_)) {
                    *self.last_refused_write.lock() = Some(Instant::now());
                }
                Err(Failure { error, server_fault })
            }
            Err(_) => {
                in_flight.abandon();
                Err(Failure {
                    error: StoreError::Interrupted(format!("no answer within {:.1} s", limit.as_secs_f64())),
                    server_fault: limit >= SILENCE_THRESHOLD,
                })
            }
        }
    }

    async fn connection(&self, until: Option<Instant>) -> Result<Object, Failure> {
        let wait = cut(self.wait_timeout, until);
        // Slightly less than the time left, to distinguish a slow connect from a long queue.
        let create = cut(CONNECT_TIMEOUT, until).mul_f64(0.9);
        let deadline_passed = || Failure {
            error: StoreError::Unavailable("no connection was free before the request's deadline".to_owned()),
            server_fault: false,
        };
        if wait.is_zero() {
            return Err(deadline_passed());
        }
        let limits = Timeouts { wait: Some(wait), create: Some(create), recycle: None };
        let get = self.pool.timeout_get(&limits);
        let connection = match until {
            None => get.await,
            Some(until) => timeout_at(until, get).await.map_err(|_| deadline_passed())?,
        };
        connection.map_err(|error| {
            let server_fault = match &error {
                PoolError::Backend(_) => true,
                PoolError::Timeout(TimeoutType::Create) => create >= SILENCE_THRESHOLD,
                _ => false,
            };
            Failure { error: error.into(), server_fault }
        })
    }

    /// Closes overflow connections once they are idle, in the background.
    fn trim(&self) {
        if self.pool.status().size <= self.permanent || self.trimming.swap(true, Ordering::AcqRel) {
            return;
        }
        let (pool, permanent, trimming) = (self.pool.weak(), self.permanent, self.trimming.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(OVERFLOW_CHECK_INTERVAL).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut excess = pool.status().size.saturating_sub(permanent);
                pool.retain(|_, metrics| {
                    let close = excess > 0 && metrics.last_used() >= OVERFLOW_IDLE_TIMEOUT;
                    excess -= usize::from(close);
                    !close
                });
                if excess == 0 {
                    trimming.store(false, Ordering::Release);
                    // A connection opened meanwhile relied on this task.
                    if pool.status().size <= permanent || trimming.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        });
    }
}

fn cut(limit: Duration, until: Option<Instant>) -> Duration {
    until.map_or(limit, |until| until.saturating_duration_since(Instant::now()).min(limit))
}

/// Whether the server failed, rather than the statement.
fn is_server_fault(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|db| {
        let connection_exception = db.code().code().starts_with("08");
        connection_exception
            || [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(db.code())
    })
}

/// A connection that runs a statement.
///
/// If it is dropped early, for instance because its caller left, it returns to the pool: the client
/// library reads and discards the answer. If it is dropped after a second without an answer, or
/// abandoned, it is closed: it may never answer again.
struct InFlightQuery<'a> {
    client: Option<Object>,
    tls: &'a Tls,
    began: Instant,
}

impl InFlightQuery<'_> {
    fn client(&self) -> &Object {
        self.client.as_ref().expect("the query has not finished")
    }

    /// Returns the connection to the pool.
    fn finish(&mut self) {
        self.client = None;
    }

    /// Closes the connection.
    fn close(&mut self) {
        self.client.take().map(Object::take);
    }

    /// Cancels the statement if possible, and closes the connection. Until then it counts towards
    /// the pool's size.
    fn abandon(&mut self) {
        let Some(client) = self.client.take() else { return };
        // Without a runtime the process is ending, and the connection with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let tls = self.tls.clone();
        runtime.spawn(async move {
            // Not every pooler forwards cancel requests; then the statement timeout ends the
            // statement.
            let _ = timeout(CANCEL_TIMEOUT, client.cancel_token().cancel_query(tls)).await;
            drop(Object::take(client));
        });
    }
}

impl Drop for InFlightQuery<'_> {
    fn drop(&mut self) {
        if self.began.elapsed() >= SILENCE_THRESHOLD {
            self.abandon();
        }
    }
}

/// The circuit breaker of a primary.
pub(super) fn primary_breaker() -> Breaker {
    Breaker::new("database", BreakerPolicy::DATABASE)
}

/// The circuit breaker of a replica. It opens at the first failure, for a short time: other servers
/// can answer instead.
pub(super) fn replica_breaker() -> Breaker {
    Breaker::new("replica", BreakerPolicy { failures: 1, open_for: Duration::from_secs(10) })
}
