//! What operators read: jobs in full, tenants, ledgers, workers, sessions, and the snapshot behind
//! metrics and health.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use switchyard_contract::{Kind, Lane, QueueStats, RecoveryRecord, Tier};
use tokio_postgres::types::{ToSql, Type};

use super::{
    connect::Store,
    error::StoreError,
    reads::{CancelOutcome, ResultOutcome},
};
use crate::{
    model::{Event, FailedAttempt, Job, JobId, TenantId},
    recovery::Action,
};

const MAX_PAGE: u32 = 200;

/// An analysis with its children, events and ledger entries.
#[derive(Debug, Clone, Deserialize)]
pub struct JobReport {
    pub job: Job,
    /// The worker that runs it, or ran it last.
    pub worker: Option<String>,
    /// Id of its trace.
    pub trace: Option<String>,
    pub failures: Vec<FailedAttempt>,
    /// The analysis whose pipeline it shares, or shared. The children belong to that one.
    pub leader: Option<JobId>,
    pub children: Vec<ChildReport>,
    pub timeline: Vec<Event>,
    pub ledger: Vec<LedgerEntry>,
}

/// A child of an analysis.
#[derive(Debug, Clone, Deserialize)]
pub struct ChildReport {
    #[serde(flatten)]
    pub job: Job,
    pub worker: Option<String>,
    pub failures: Vec<FailedAttempt>,
}

/// A change of a tenant's balance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LedgerEntry {
    pub id: i64,
    /// `grant`, `charge` or `refund`.
    pub kind: String,
    /// Credits that it adds to the balance; a charge is negative.
    pub amount: i64,
    pub reason: String,
    pub job: Option<JobId>,
    pub at: DateTime<Utc>,
}

/// Ledger entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPage {
    pub entries: Vec<LedgerEntry>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<i64>,
}

/// A tenant in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TenantRow {
    pub id: TenantId,
    pub name: String,
    pub tier: Tier,
    pub credits: i64,
    pub running: u32,
    pub today: u32,
    pub created_at: DateTime<Utc>,
}

/// Tenants, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPage {
    pub tenants: Vec<TenantRow>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<TenantId>,
}

/// What a worker process reports about itself.
#[derive(Debug, Clone)]
pub struct WorkerHeartbeat<'a> {
    pub name: &'a str,
    pub pool: &'a str,
    pub kind: Kind,
    /// Jobs that it may run at the same time.
    pub concurrency: u32,
    pub running: usize,
    pub memory_bytes: u64,
    pub memory_limit_bytes: Option<u64>,
    /// Whether it claims no more jobs.
    pub draining: bool,
    pub uptime_seconds: f64,
}

/// A worker process as of its last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkerReport {
    pub name: String,
    pub pool: String,
    pub kind: Kind,
    pub concurrency: u32,
    pub running: u32,
    pub memory_bytes: i64,
    pub memory_limit_bytes: Option<i64>,
    pub version: String,
    pub draining: bool,
    pub started_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
}

/// Sessions of the PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sessions {
    /// The server's `max_connections`.
    pub max: u32,
    /// Sessions of all clients.
    pub in_use: u32,
    pub rows: Vec<RoleSessions>,
}

/// Sessions of one role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoleSessions {
    pub role: String,
    /// Its `CONNECTION LIMIT`, where it has one.
    pub limit: Option<u32>,
    pub in_use: u32,
    /// Sessions that run a statement; `None` if the owner of the schema may not see that.
    pub active: Option<u32>,
}

/// Analyses that ended in the last five minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Outcomes {
    pub completed: u64,
    pub dead: u64,
}

/// How the analyses that wait in a lane are spread over tenants.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Fairness {
    pub lane: Lane,
    pub tenants: u64,
    /// Share of the waiting analyses, 0 to 1, that belongs to the tenant with the most.
    pub largest_share: f64,
}

/// Workers of one kind with a heartbeat in the last minute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkersSeen {
    pub kind: Kind,
    pub seen: u64,
}

/// The state of the platform, from which metrics and the health score are computed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PlatformSnapshot {
    pub lanes: Vec<QueueStats>,
    pub fairness: Vec<Fairness>,
    /// Dead analyses that are neither replayed nor discarded.
    pub dead: u64,
    pub workers: Vec<WorkersSeen>,
    pub outcomes: Outcomes,
    pub sessions: Sessions,
    /// Recoveries of the last hour, at most 20, oldest first.
    pub recoveries: Vec<RecoveryRecord>,
}

impl Store {
    /// An analysis in full; `None` if there is no such analysis.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn job_report(&self, id: JobId) -> Result<Option<JobReport>, StoreError> {
        self.database.fresh().optional(include_str!("../../sql/job_report.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// As [`Store::result`], for any tenant.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn any_result(&self, id: JobId) -> Result<ResultOutcome, StoreError> {
        self.database.fresh().one(include_str!("../../sql/any_result.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// As [`Store::cancel`], for any tenant.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn cancel_any(&self, id: JobId) -> Result<CancelOutcome, StoreError> {
        self.database.primary().one(include_str!("../../sql/cancel_any.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// Tenants, newest first. `search` is a tenant's id, or a prefix of its name in any case.
    /// `cursor` is the `next` of the previous page; `limit` is clamped to 1..=200.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn tenants(
        &self,
        search: Option<&str>,
        cursor: Option<TenantId>,
        limit: u32,
    ) -> Result<TenantPage, StoreError> {
        let (limit, cursor) = (limit.clamp(1, MAX_PAGE), cursor.map(|tenant| tenant.0));
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&search, Type::TEXT), (&cursor, Type::UUID), (&i64::from(limit + 1), Type::INT8)];
        let found = self.database.fresh().many(include_str!("../../sql/tenants.sql"), &params).await?;
        let (tenants, next) = page(found, limit, |tenant: &TenantRow| tenant.id);
        Ok(TenantPage { tenants, next })
    }

    /// A tenant's ledger, read with the tenant's rights. `cursor` is the `next` of the previous
    /// page; `limit` is clamped to 1..=200.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn ledger(&self, tenant: TenantId, cursor: Option<i64>, limit: u32) -> Result<LedgerPage, StoreError> {
        self.ledger_page(include_str!("../../sql/ledger.sql"), tenant, cursor, limit).await
    }

    /// As [`Store::ledger`], with the owner's rights.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn any_ledger(
        &self,
        tenant: TenantId,
        cursor: Option<i64>,
        limit: u32,
    ) -> Result<LedgerPage, StoreError> {
        self.ledger_page(include_str!("../../sql/any_ledger.sql"), tenant, cursor, limit).await
    }

    async fn ledger_page(
        &self,
        sql: &str,
        tenant: TenantId,
        cursor: Option<i64>,
        limit: u32,
    ) -> Result<LedgerPage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&tenant.0, Type::UUID), (&cursor, Type::INT8), (&i64::from(limit + 1), Type::INT8)];
        let found = self.database.fresh().many(sql, &params).await?;
        let (entries, next) = page(found, limit, |entry: &LedgerEntry| entry.id);
        Ok(LedgerPage { entries, next })
    }

    /// Records a worker's heartbeat.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn worker_seen(&self, heartbeat: &WorkerHeartbeat<'_>) -> Result<(), StoreError> {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let _: bool = self
            .database
            .essential()
            .one(
                include_str!("../../sql/worker_seen.sql"),
                &[
                    (&heartbeat.name, Type::TEXT),
                    (&heartbeat.pool, Type::TEXT),
                    (&heartbeat.kind.as_str(), Type::TEXT),
                    (&count(heartbeat.concurrency as usize), Type::INT4),
                    (&count(heartbeat.running), Type::INT4),
                    (&bytes(heartbeat.memory_bytes), Type::INT8),
                    (&heartbeat.memory_limit_bytes.map(bytes), Type::INT8),
                    (&env!("CARGO_PKG_VERSION"), Type::TEXT),
                    (&heartbeat.draining, Type::BOOL),
                    (&heartbeat.uptime_seconds, Type::FLOAT8),
                ],
            )
            .await?;
        Ok(())
    }

    /// Removes a worker process that has shut down.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn worker_gone(&self, name: &str) -> Result<(), StoreError> {
        let _: bool =
            self.database.essential().one(include_str!("../../sql/worker_gone.sql"), &[(&name, Type::TEXT)]).await?;
        Ok(())
    }

    /// Worker processes with a heartbeat in the last hour.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn workers(&self) -> Result<Vec<WorkerReport>, StoreError> {
        self.database.fresh().many(include_str!("../../sql/workers.sql"), &[]).await
    }

    /// Sessions of the platform's roles.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn sessions(&self) -> Result<Sessions, StoreError> {
        self.database.primary().one(include_str!("../../sql/sessions.sql"), &[]).await
    }

    /// Records a recovery. `subject` is the job or the worker.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn recovered(&self, action: Action, subject: &str, evidence: &str) -> Result<(), StoreError> {
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&action.as_str(), Type::TEXT), (&subject, Type::TEXT), (&evidence, Type::TEXT)];
        let _: bool = self.database.essential().one(include_str!("../../sql/recovered.sql"), &params).await?;
        Ok(())
    }

    /// The state of the platform, for metrics and the health score.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn platform_snapshot(&self) -> Result<PlatformSnapshot, StoreError> {
        self.database.primary().one(include_str!("../../sql/platform_snapshot.sql"), &[]).await
    }
}

/// Truncates `found`, which may hold one item more than a page, and returns the cursor of the next
/// page.
fn page<T, C>(mut found: Vec<T>, limit: u32, cursor: impl Fn(&T) -> C) -> (Vec<T>, Option<C>) {
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = if more { found.last().map(cursor) } else { None };
    (found, next)
}
