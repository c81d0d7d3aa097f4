use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolConfig, PoolError, QueueMode, RecyclingMethod, Runtime, Status,
    TimeoutType, Timeouts,
};
use switchyard_contract::ConnectionPool;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{
    Row,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{
    StoreError,
    address::{Address, CONNECT_TIMEOUT},
    tls::Tls,
};
use crate::resilience::{Breaker, Policy as BreakerPolicy, deadline};

/// What a client waits beyond the server's own limit, before it gives the connection up.
const SLACK: Duration = Duration::from_secs(1);
/// Silence that speaks against the server; a caller with less time than this proves nothing by leaving.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a server that could not write counts as one that cannot.
const UNWRITABLE: Duration = Duration::from_secs(30);
/// How long a request to stop a statement may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection beyond the lasting ones may rest before it is closed, and how often that is looked at.
const OVERFLOW_REST: Duration = Duration::from_secs(2);
const OVERFLOW_LOOK: Duration = Duration::from_millis(500);

/// How often a statement that was undone is tried again.
const AGAIN: u32 = 3;

/// What a statement's parameters are given as.
pub(super) type Params<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// One PostgreSQL server: connections to it, and whether it is worth asking.
#[derive(Clone)]
pub(super) struct Server {
    pool: Pool,
    tls: Tls,
    breaker: Breaker,
    /// Connections that stay.
    lasting: usize,
    wait: Duration,
    answer: Duration,
    trimming: Arc<AtomicBool>,
    /// When it could not write last.
    unwritable: Arc<Mutex<Option<Instant>>>,
}

/// Whether a call asks the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Not made while the breaker is open.
    Breaker,
    /// Made whatever the breaker says; the breaker hears how it went.
    None,
}

/// A failed call, and whether it speaks against the server.
struct Failure {
    error: StoreError,
    against: bool,
}

impl Server {
    /// A server at `address`; connects when it is needed. `application` is what `pg_stat_activity` shows.
    pub fn new(address: &Address, application: &str, connections: ConnectionPool, breaker: Breaker) -> Self {
        let mut config = address.config().clone();
        // PostgreSQL cuts names at 63 bytes, and with a notice at that.
        config.application_name(application.chars().take(63).collect::<String>());
        let manager = Manager::from_config(
            config,
            address.tls().clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let lasting = connections.size.max(1) as usize;
        let mut sizes = PoolConfig::new(lasting + connections.overflow as usize);
        // The connection used last goes out first, so that those which are too many fall idle.
        sizes.queue_mode = QueueMode::Lifo;
        let pool = Pool::builder(manager)
            .config(sizes)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is given, which is all that building a pool can miss");
        Self {
            pool,
            tls: address.tls().clone(),
            breaker,
            lasting,
            wait: Duration::from_secs(connections.wait_timeout_seconds.max(1)),
            answer: Duration::from_secs(connections.statement_timeout_seconds.max(1)) + SLACK,
            trimming: Arc::default(),
            unwritable: Arc::default(),
        }
    }

    /// Whether nothing has failed for want of room or rights to write for [`UNWRITABLE`].
    pub fn is_writable(&self) -> bool {
        let last = *self.unwritable.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|at| at.elapsed() >= UNWRITABLE)
    }

    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub fn status(&self) -> Status {
        self.pool.status()
    }

    /// Runs a statement within the server's limits, the task's deadline, and `share` of what that leaves. What PostgreSQL undid for another's sake is tried
    /// again: requests that join a pipeline lock its row without waiting, but PostgreSQL waits all the same where that row has changed since the
    /// statement began and is being ended, and whoever ends it may wait for the requests' tenant.
    pub async fn rows(&self, sql: &str, params: Params<'_>, guard: Guard, share: f64) -> Result<Vec<Row>, StoreError> {
        let until = deadline::remaining().map(|left| Instant::now() + left.mul_f64(share));
        let mut undone = 0;
        loop {
            match self.once(sql, params, guard, until).await {
                Err(StoreError::Undone(_)) if undone < AGAIN => undone += 1,
                answer => return answer,
            }
        }
    }

    async fn once(
        &self,
        sql: &str,
        params: Params<'_>,
        guard: Guard,
        until: Option<Instant>,
    ) -> Result<Vec<Row>, StoreError> {
        match guard {
            Guard::Breaker => {
                let permit = self.breaker.admit().map_err(|open| StoreError::Unavailable(open.to_string()))?;
                match self.ask(sql, params, until).await {
                    Ok(rows) => {
                        permit.succeeded();
                        Ok(rows)
                    }
                    Err(Failure { error, against: true }) => {
                        permit.failed();
                        Err(error)
                    }
                    // An answer, even a refusal, shows a server that works; a queue for connections shows nothing.
                    Err(Failure { error, against: false }) => {
                        if !error.is_passing() || matches!(error, StoreError::Unwritable(_)) {
                            permit.succeeded();
                        }
                        Err(error)
                    }
                }
            }
            Guard::None => match self.ask(sql, params, until).await {
                Ok(rows) => {
                    self.breaker.heard();
                    Ok(rows)
                }
                Err(failure) => {
                    if failure.against {
                        self.breaker.missed();
                    }
                    Err(failure.error)
                }
            },
        }
    }

    async fn ask(&self, sql: &str, params: Params<'_>, until: Option<Instant>) -> Result<Vec<Row>, Failure> {
        let client = self.connection(until).await?;
        let limit = cut(self.answer, until);
        let mut flight = Flight { client: Some(client), tls: &self.tls, began: Instant::now() };
        match timeout(limit, flight.client().query_typed(sql, params)).await {
            Ok(Ok(rows)) => {
                flight.landed();
                self.trim();
                Ok(rows)
            }
            Ok(Err(error)) => {
                let against = speaks_against(&error);
                // New connections may lead to the primary, where the old ones lead to a standby.
                if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
                    flight.close();
                    self.pool.retain(|_, _| false);
                }
                flight.landed();
                let error = StoreError::from(error);
                if matches!(error, StoreError::Unwritable(_)) {
                    *self.unwritable.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                }
                Err(Failure { error, against })
            }
            Err(_) => {
                flight.abandon();
                Err(Failure {
                    error: StoreError::Interrupted(format!("no answer within {:.1} s", limit.as_secs_f64())),
                    against: limit >= SILENCE,
                })
            }
        }
    }

    async fn connection(&self, until: Option<Instant>) -> Result<Object, Failure> {
        let wait = cut(self.wait, until);
        // A little less than is left: past it the making took too long, past the deadline the queue before it did.
        let create = cut(CONNECT_TIMEOUT, until).mul_f64(0.9);
        let late = || Failure {
            error: StoreError::Unavailable("none came free before the request's deadline".to_owned()),
            against: false,
        };
        if wait.is_zero() {
            return Err(late());
        }
        let limits = Timeouts { wait: Some(wait), create: Some(create), recycle: None };
        let got = self.pool.timeout_get(&limits);
        let got = match until {
            None => got.await,
            Some(until) => timeout_at(until, got).await.map_err(|_| late())?,
        };
        got.map_err(|error| {
            let against = match &error {
                PoolError::Backend(_) => true,
                PoolError::Timeout(TimeoutType::Create) => create >= SILENCE,
                _ => false,
            };
            Failure { error: error.into(), against }
        })
    }

    /// Sees to it that connections beyond the lasting ones go once they have rested.
    fn trim(&self) {
        if self.pool.status().size <= self.lasting || self.trimming.swap(true, Ordering::AcqRel) {
            return;
        }
        let (pool, lasting, trimming) = (self.pool.weak(), self.lasting, self.trimming.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(OVERFLOW_LOOK).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut excess = pool.status().size.saturating_sub(lasting);
                pool.retain(|_, metrics| {
                    let close = excess > 0 && metrics.last_used() >= OVERFLOW_REST;
                    excess -= usize::from(close);
                    !close
                });
                if excess == 0 {
                    trimming.store(false, Ordering::Release);
                    // One that was made in between saw somebody trimming still.
                    if pool.status().size <= lasting || trimming.swap(true, Ordering::AcqRel) {
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

/// Whether the server, and not the statement, is what fails.
fn speaks_against(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|db| {
        let connection_trouble = db.code().code().starts_with("08");
        connection_trouble
            || [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(db.code())
    })
}

/// A connection with a statement on its way. Dropped after a short while, for instance with a caller that went away, it goes back to the pool: the answer
/// is read and dropped in order, and the connection stays sound. Dropped in longer silence, or abandoned, it is closed: it may never answer again.
struct Flight<'a> {
    client: Option<Object>,
    tls: &'a Tls,
    began: Instant,
}

impl Flight<'_> {
    fn client(&self) -> &Object {
        self.client.as_ref().expect("the connection is there until it lands or is abandoned")
    }

    fn landed(&mut self) {
        self.client = None;
    }

    /// The connection is of no more use.
    fn close(&mut self) {
        self.client.take().map(Object::take);
    }

    /// Asks the server to stop the statement, where that can be, and closes the connection. Until then it counts as one of the pool's.
    fn abandon(&mut self) {
        let Some(client) = self.client.take() else { return };
        // Without a runtime there is nothing to ask with, and the connection is as good as gone.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let tls = self.tls.clone();
        runtime.spawn(async move {
            // Not every pooler passes it on; then the server's own limit ends the statement.
            let _ = timeout(CANCEL_TIMEOUT, client.cancel_token().cancel_query(tls)).await;
            drop(Object::take(client));
        });
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.began.elapsed() >= SILENCE {
            self.abandon();
        }
    }
}

/// The breaker of a primary.
pub(super) fn primary_breaker() -> Breaker {
    Breaker::new("database", BreakerPolicy::DATABASE)
}

/// The breaker of a replica, which others can stand in for: left alone at the first failure, and not for long.
pub(super) fn replica_breaker() -> Breaker {
    Breaker::new("replica", BreakerPolicy { failures: 1, open_for: Duration::from_secs(10) })
}
