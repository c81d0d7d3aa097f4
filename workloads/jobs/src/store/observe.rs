use chrono::{DateTime, Utc};
use serde::Deserialize;
use switchyard_contract::{Kind, Lane, QueueStats, RecoveryRecord, Tier};
use tokio_postgres::types::{ToSql, Type};

use super::{CancelOutcome, ResultOutcome, Store, StoreError};
use crate::{
    model::{Event, FailedAttempt, Job, JobId, TenantId},
    recovery::Action,
};

/// The longest page of anything.
const LONGEST_PAGE: u32 = 200;

/// An analysis in full.
#[derive(Debug, Clone, Deserialize)]
pub struct JobReport {
    pub job: Job,
    /// Who holds it, or held it last.
    pub worker: Option<String>,
    /// Of its trace.
    pub trace: Option<String>,
    pub failures: Vec<FailedAttempt>,
    /// The analysis whose pipeline it shares, or shared; the parts are that one's.
    pub leader: Option<JobId>,
    pub parts: Vec<PartReport>,
    pub timeline: Vec<Event>,
    pub ledger: Vec<LedgerEntry>,
}

/// A part of an analysis.
#[derive(Debug, Clone, Deserialize)]
pub struct PartReport {
    #[serde(flatten)]
    pub job: Job,
    pub worker: Option<String>,
    pub failures: Vec<FailedAttempt>,
}

/// What changed a tenant's balance, and by how much.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LedgerEntry {
    pub id: i64,
    /// `grant`, `charge` or `refund`.
    pub kind: String,
    /// What it adds to the balance; a charge is negative.
    pub amount: i64,
    pub reason: String,
    pub job: Option<JobId>,
    pub at: DateTime<Utc>,
}

/// Ledger entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPage {
    pub entries: Vec<LedgerEntry>,
    /// The cursor of the next page, when there is one.
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
    pub next: Option<TenantId>,
}

/// What a worker process tells of itself.
#[derive(Debug, Clone)]
pub struct WorkerSign<'a> {
    pub name: &'a str,
    pub pool: &'a str,
    pub kind: Kind,
    /// Jobs that it may run at once.
    pub concurrency: u32,
    pub running: usize,
    pub memory_bytes: u64,
    pub memory_limit_bytes: Option<u64>,
    /// Whether it takes no more jobs.
    pub draining: bool,
    pub uptime_seconds: f64,
}

/// A worker process as it was last heard of.
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

/// Sessions at PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sessions {
    /// The server's `max_connections`.
    pub max: u32,
    /// Of all its clients.
    pub in_use: u32,
    pub rows: Vec<RoleSessions>,
}

/// Those of one role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoleSessions {
    pub role: String,
    /// Its `CONNECTION LIMIT`, where it has one.
    pub limit: Option<u32>,
    pub in_use: u32,
    /// Those in the middle of a statement; none where the platform's owner may not see that.
    pub active: Option<u32>,
}

/// How analyses of the last five minutes ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Outcomes {
    pub completed: u64,
    pub dead: u64,
}

/// Whose analyses wait in a lane.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Fairness {
    pub lane: Lane,
    pub tenants: u64,
    /// The part of them, 0 to 1, that belongs to one tenant: the one with the most.
    pub largest_share: f64,
}

/// Workers of a kind that were heard of within the last minute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkersSeen {
    pub kind: Kind,
    pub seen: u64,
}

/// Everything that metrics and the health score are made of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Facts {
    pub lanes: Vec<QueueStats>,
    pub fairness: Vec<Fairness>,
    /// Dead analyses that nobody replayed or discarded.
    pub dead: u64,
    pub workers: Vec<WorkersSeen>,
    pub outcomes: Outcomes,
    pub sessions: Sessions,
    /// Those of the last hour, twenty at most, oldest first.
    pub recoveries: Vec<RecoveryRecord>,
}

impl Store {
    /// An analysis in full; `None` where there is none of that id.
    pub async fn job_report(&self, id: JobId) -> Result<Option<JobReport>, StoreError> {
        self.fresh().optional(include_str!("../../sql/job_report.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// As [`Store::result`], anyone's.
    pub async fn any_result(&self, id: JobId) -> Result<ResultOutcome, StoreError> {
        self.fresh().one(include_str!("../../sql/any_result.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// As [`Store::cancel`], anyone's.
    pub async fn cancel_any(&self, id: JobId) -> Result<CancelOutcome, StoreError> {
        self.one(include_str!("../../sql/cancel_any.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// Tenants whose name begins with `search`, in any case, or whose id it is; without it all of them. `cursor` is a page's `next`, `limit` is cut to
    /// 1..=200.
    pub async fn tenants(
        &self,
        search: Option<&str>,
        cursor: Option<TenantId>,
        limit: u32,
    ) -> Result<TenantPage, StoreError> {
        let (limit, cursor) = (limit.clamp(1, LONGEST_PAGE), cursor.map(|tenant| tenant.0));
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&search, Type::TEXT), (&cursor, Type::UUID), (&i64::from(limit + 1), Type::INT8)];
        let found = self.fresh().many(include_str!("../../sql/tenants.sql"), &params).await?;
        let (tenants, next) = page(found, limit, |tenant: &TenantRow| tenant.id);
        Ok(TenantPage { tenants, next })
    }

    /// A tenant's ledger as it reads it itself. `cursor` is a page's `next`, `limit` is cut to 1..=200.
    pub async fn ledger(&self, tenant: TenantId, cursor: Option<i64>, limit: u32) -> Result<LedgerPage, StoreError> {
        self.ledger_page(include_str!("../../sql/ledger.sql"), tenant, cursor, limit).await
    }

    /// As [`Store::ledger`], anyone's.
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
        let limit = limit.clamp(1, LONGEST_PAGE);
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&tenant.0, Type::UUID), (&cursor, Type::INT8), (&i64::from(limit + 1), Type::INT8)];
        let found = self.fresh().many(sql, &params).await?;
        let (entries, next) = page(found, limit, |entry: &LedgerEntry| entry.id);
        Ok(LedgerPage { entries, next })
    }

    /// Tells that a worker process is there, and what it is doing.
    pub async fn worker_seen(&self, sign: &WorkerSign<'_>) -> Result<(), StoreError> {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let _: bool = self
            .essential()
            .one(
                include_str!("../../sql/worker_seen.sql"),
                &[
                    (&sign.name, Type::TEXT),
                    (&sign.pool, Type::TEXT),
                    (&sign.kind.as_str(), Type::TEXT),
                    (&count(sign.concurrency as usize), Type::INT4),
                    (&count(sign.running), Type::INT4),
                    (&bytes(sign.memory_bytes), Type::INT8),
                    (&sign.memory_limit_bytes.map(bytes), Type::INT8),
                    (&env!("CARGO_PKG_VERSION"), Type::TEXT),
                    (&sign.draining, Type::BOOL),
                    (&sign.uptime_seconds, Type::FLOAT8),
                ],
            )
            .await?;
        Ok(())
    }

    /// Tells that a worker process has ended in good order.
    pub async fn worker_gone(&self, name: &str) -> Result<(), StoreError> {
        let _: bool = self.essential().one(include_str!("../../sql/worker_gone.sql"), &[(&name, Type::TEXT)]).await?;
        Ok(())
    }

    /// Worker processes that were heard of within the last hour.
    pub async fn workers(&self) -> Result<Vec<WorkerReport>, StoreError> {
        self.fresh().many(include_str!("../../sql/workers.sql"), &[]).await
    }

    /// Sessions at PostgreSQL of the platform's roles.
    pub async fn sessions(&self) -> Result<Sessions, StoreError> {
        self.one(include_str!("../../sql/sessions.sql"), &[]).await
    }

    /// Remembers what was healed, for people. `subject` is the job or the worker.
    pub async fn recovered(&self, action: Action, subject: &str, evidence: &str) -> Result<(), StoreError> {
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&action.as_str(), Type::TEXT), (&subject, Type::TEXT), (&evidence, Type::TEXT)];
        let _: bool = self.essential().one(include_str!("../../sql/recovered.sql"), &params).await?;
        Ok(())
    }

    /// Everything that metrics and the health score are made of.
    pub async fn facts(&self) -> Result<Facts, StoreError> {
        self.one(include_str!("../../sql/facts.sql"), &[]).await
    }
}

/// Cuts what was found, one more than fits, to a page; answers the last one's cursor when there is more.
fn page<T, C>(mut found: Vec<T>, limit: u32, cursor: impl Fn(&T) -> C) -> (Vec<T>, Option<C>) {
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = if more { found.last().map(cursor) } else { None };
    (found, next)
}
