//! What the API reads for a tenant: jobs, results, events and usage; and cancellation.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_contract::{Lane, Tier};
use tokio_postgres::types::{ToSql, Type};

use super::{connect::Store, database::Executor, error::StoreError};
use crate::model::{Effects, Event, Job, JobId, JobState, TenantId};

/// A tenant, as identified by its API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub tier: Tier,
}

/// What a tenant uses of its limits. The limits themselves belong to the tier, see
/// [`Store::policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub tier: Tier,
    pub credits: i64,
    /// Unfinished analyses that the tenant submitted.
    pub running: u32,
    /// Analyses accepted in the current UTC day.
    pub today: u32,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// A public state: `running` includes jobs that wait for their children.
    pub state: Option<JobState>,
    pub lane: Option<Lane>,
    /// Whether to include analyses that discovery submitted.
    pub discovered: bool,
    /// A job id, or a prefix of the username.
    pub search: Option<String>,
    /// Only jobs of this tenant, in a list across tenants.
    pub tenant: Option<TenantId>,
    /// Only jobs older than this one: the `next` of the previous page.
    pub cursor: Option<JobId>,
    /// Page size, clamped to 1..=200.
    pub limit: u32,
}

/// Jobs, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPage {
    pub jobs: Vec<Job>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<JobId>,
}

/// The result of an analysis, if it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ResultOutcome {
    /// The tenant has no such job.
    NotFound,
    /// The job has no result yet, or will have none.
    NotFinished {
        job: Job,
    },
    Finished {
        job: Job,
        result: Value,
    },
}

/// The answer to a cancellation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CancelOutcome {
    NotFound,
    /// The job had ended before.
    AlreadyEnded {
        job: Job,
    },
    /// `refunded` is the price if no worker had claimed the job, else 0.
    Cancelled {
        job: Job,
        refunded: i64,
        balance: i64,
        effects: Effects,
    },
}

impl Store {
    /// An analysis of `tenant`; `None` if the tenant has no such analysis.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn job(&self, tenant: TenantId, id: JobId) -> Result<Option<Job>, StoreError> {
        self.job_of(Some(tenant), id).await
    }

    /// As [`Store::job`]; without a tenant, any job, children included.
    pub(crate) async fn job_of(&self, tenant: Option<TenantId>, id: JobId) -> Result<Option<Job>, StoreError> {
        match tenant {
            Some(tenant) => {
                self.database
                    .fresh()
                    .optional(include_str!("../../sql/job.sql"), &[(&tenant.0, Type::UUID), (&id.0, Type::UUID)])
                    .await
            }
            None => self.database.fresh().optional(include_str!("../../sql/any_job.sql"), &[(&id.0, Type::UUID)]).await,
        }
    }

    /// A tenant's analyses, newest first.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn jobs(&self, tenant: TenantId, filter: &JobFilter) -> Result<JobPage, StoreError> {
        self.list(Some(tenant), filter).await
    }

    /// As [`Store::jobs`]; without a tenant, across tenants.
    pub(super) async fn list(&self, tenant: Option<TenantId>, filter: &JobFilter) -> Result<JobPage, StoreError> {
        let limit = filter.limit.clamp(1, 200);
        let (state, lane) = (filter.state.map(JobState::public), filter.lane.map(Lane::as_str));
        let (cursor, rows) = (filter.cursor.map(|c| c.0), i64::from(limit + 1));
        let of_tenant = filter.tenant.map(|tenant| tenant.0);
        let conditions: [(&(dyn ToSql + Sync), Type); 6] = [
            (&state, Type::TEXT),
            (&lane, Type::TEXT),
            (&filter.discovered, Type::BOOL),
            (&cursor, Type::UUID),
            (&rows, Type::INT8),
            (&filter.search, Type::TEXT),
        ];
        // Later pages hold older jobs, for which a replica is fresh enough.
        let executor: Executor<'_> =
            if tenant.is_some() && cursor.is_none() { self.database.fresh() } else { self.database.relaxed() };
        let mut jobs: Vec<Job> = match tenant {
            Some(tenant) => {
                let params = [[(&tenant.0 as &(dyn ToSql + Sync), Type::UUID)].as_slice(), &conditions].concat();
                executor.many(include_str!("../../sql/jobs.sql"), &params).await?
            }
            None => {
                let params = [conditions.as_slice(), &[(&of_tenant, Type::UUID)]].concat();
                executor.many(include_str!("../../sql/all_jobs.sql"), &params).await?
            }
        };
        let more = jobs.len() > limit as usize;
        jobs.truncate(limit as usize);
        let next = if more { jobs.last().map(|job| job.id) } else { None };
        Ok(JobPage { jobs, next })
    }

    /// The result of an analysis.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn result(&self, tenant: TenantId, id: JobId) -> Result<ResultOutcome, StoreError> {
        let sql = include_str!("../../sql/result.sql");
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&tenant.0, Type::UUID), (&id.0, Type::UUID)];
        // A result that a replica has is right. Only the primary knows that there is none.
        if self.database.is_replicated()
            && let Ok(finished @ ResultOutcome::Finished { .. }) = self.database.relaxed().one(sql, &params).await
        {
            return Ok(finished);
        }
        self.database.fresh().one(sql, &params).await
    }

    /// The tenant's newest completed analysis of a profile, with its result. An analysis that
    /// completed just now may be missing.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn latest_result(&self, tenant: TenantId, username: &str) -> Result<Option<(Job, Value)>, StoreError> {
        self.database
            .relaxed()
            .optional(include_str!("../../sql/latest_result.sql"), &[(&tenant.0, Type::UUID), (&username, Type::TEXT)])
            .await
    }

    /// Events of an analysis after event `seq`, oldest first; empty if the tenant has no such job.
    /// Without a tenant, of any analysis.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn events_after(&self, tenant: Option<TenantId>, job: JobId, seq: i64) -> Result<Vec<Event>, StoreError> {
        match tenant {
            Some(tenant) => {
                self.database
                    .fresh()
                    .many(
                        include_str!("../../sql/events_after.sql"),
                        &[(&tenant.0, Type::UUID), (&job.0, Type::UUID), (&seq, Type::INT8)],
                    )
                    .await
            }
            None => {
                self.database
                    .fresh()
                    .many(include_str!("../../sql/any_events_after.sql"), &[(&job.0, Type::UUID), (&seq, Type::INT8)])
                    .await
            }
        }
    }

    /// What a tenant uses of its limits; `None` if there is no such tenant.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn usage(&self, tenant: TenantId) -> Result<Option<Usage>, StoreError> {
        self.database.fresh().optional(include_str!("../../sql/usage.sql"), &[(&tenant.0, Type::UUID)]).await
    }

    /// Cancels an analysis with all its children. Safe to repeat.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn cancel(&self, tenant: TenantId, id: JobId) -> Result<CancelOutcome, StoreError> {
        self.database
            .primary()
            .one(include_str!("../../sql/cancel.sql"), &[(&tenant.0, Type::UUID), (&id.0, Type::UUID)])
            .await
    }

    /// The database's clock.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.database.primary().one("select to_jsonb(now())", &[]).await
    }
}
