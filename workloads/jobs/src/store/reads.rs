use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_contract::{Lane, Tier};
use tokio_postgres::types::{ToSql, Type};

use super::{Store, StoreError};
use crate::model::{Effects, Event, Job, JobId, JobState, TenantId};

/// Who is behind an API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub tier: Tier,
}

/// A tenant's position against its limits. The limits themselves are the tier's, see [`Store::policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub tier: Tier,
    pub credits: i64,
    /// Unfinished analyses that the tenant asked for.
    pub running: u32,
    /// Analyses accepted in this UTC day.
    pub today: u32,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// As callers name states: `running` takes in jobs that wait for their children.
    pub state: Option<JobState>,
    pub lane: Option<Lane>,
    /// Analyses that came from discovery as well.
    pub discovered: bool,
    /// An id, or how a name begins.
    pub search: Option<String>,
    /// In a list of everyone's, only this one's.
    pub tenant: Option<TenantId>,
    /// Jobs older than this one, which is what a page's `next` is.
    pub cursor: Option<JobId>,
    /// At most this many; cut to 1..=200.
    pub limit: u32,
}

/// Jobs, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPage {
    pub jobs: Vec<Job>,
    /// The cursor of the next page, when there is one.
    pub next: Option<JobId>,
}

/// What there is to a job's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ResultOutcome {
    /// No such job of this tenant.
    NotFound,
    /// The job has no result, or none yet.
    NotFinished {
        job: Job,
    },
    Finished {
        job: Job,
        result: Value,
    },
}

/// What cancelling came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CancelOutcome {
    NotFound,
    /// It had ended already, which cancelling does not change.
    AlreadyEnded {
        job: Job,
    },
    /// `refunded` credits went back: the price when no worker had claimed it, else 0.
    Cancelled {
        job: Job,
        refunded: i64,
        balance: i64,
        effects: Effects,
    },
}

impl Store {
    /// An analysis of `tenant`; another tenant's is `None`.
    pub async fn job(&self, tenant: TenantId, id: JobId) -> Result<Option<Job>, StoreError> {
        self.job_of(Some(tenant), id).await
    }

    /// As [`Store::job`]; without a tenant it is anyone's job, children included.
    pub(crate) async fn job_of(&self, tenant: Option<TenantId>, id: JobId) -> Result<Option<Job>, StoreError> {
        match tenant {
            Some(tenant) => {
                self.fresh()
                    .optional(include_str!("../../sql/job.sql"), &[(&tenant.0, Type::UUID), (&id.0, Type::UUID)])
                    .await
            }
            None => self.fresh().optional(include_str!("../../sql/any_job.sql"), &[(&id.0, Type::UUID)]).await,
        }
    }

    /// A tenant's analyses.
    pub async fn jobs(&self, tenant: TenantId, filter: &JobFilter) -> Result<JobPage, StoreError> {
        self.list(Some(tenant), filter).await
    }

    /// As [`Store::jobs`]; without a tenant they are everyone's.
    pub(super) async fn list(&self, tenant: Option<TenantId>, filter: &JobFilter) -> Result<JobPage, StoreError> {
        let limit = filter.limit.clamp(1, 200);
        let (state, lane) = (filter.state.map(JobState::public), filter.lane.map(Lane::as_str));
        let (cursor, rows) = (filter.cursor.map(|c| c.0), i64::from(limit + 1));
        let of = filter.tenant.map(|tenant| tenant.0);
        let conditions: [(&(dyn ToSql + Sync), Type); 6] = [
            (&state, Type::TEXT),
            (&lane, Type::TEXT),
            (&filter.discovered, Type::BOOL),
            (&cursor, Type::UUID),
            (&rows, Type::INT8),
            (&filter.search, Type::TEXT),
        ];
        // What is on a page further back was written a while ago.
        let via = if tenant.is_some() && cursor.is_none() { self.fresh() } else { self.relaxed() };
        let mut jobs: Vec<Job> = match tenant {
            Some(tenant) => {
                let tenants = [[(&tenant.0 as &(dyn ToSql + Sync), Type::UUID)].as_slice(), &conditions].concat();
                via.many(include_str!("../../sql/jobs.sql"), &tenants).await?
            }
            None => {
                let everyone = [conditions.as_slice(), &[(&of, Type::UUID)]].concat();
                via.many(include_str!("../../sql/all_jobs.sql"), &everyone).await?
            }
        };
        let more = jobs.len() > limit as usize;
        jobs.truncate(limit as usize);
        let next = if more { jobs.last().map(|job| job.id) } else { None };
        Ok(JobPage { jobs, next })
    }

    /// The result of an analysis.
    pub async fn result(&self, tenant: TenantId, id: JobId) -> Result<ResultOutcome, StoreError> {
        let sql = include_str!("../../sql/result.sql");
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&tenant.0, Type::UUID), (&id.0, Type::UUID)];
        // A result never changes, so wherever it is found it is right; that there is none is only certain where it is written.
        if self.replicated()
            && let Ok(finished @ ResultOutcome::Finished { .. }) = self.relaxed().one(sql, &params).await
        {
            return Ok(finished);
        }
        self.fresh().one(sql, &params).await
    }

    /// The newest completed analysis of a profile that `tenant` has, with its result; one that ended a moment ago may not be seen yet.
    pub async fn latest_result(&self, tenant: TenantId, username: &str) -> Result<Option<(Job, Value)>, StoreError> {
        self.relaxed()
            .optional(include_str!("../../sql/latest_result.sql"), &[(&tenant.0, Type::UUID), (&username, Type::TEXT)])
            .await
    }

    /// What happened to an analysis after event `seq`, oldest first; empty for an unknown job or another tenant's. Without a tenant it is anyone's.
    pub async fn events_after(&self, tenant: Option<TenantId>, job: JobId, seq: i64) -> Result<Vec<Event>, StoreError> {
        match tenant {
            Some(tenant) => {
                self.fresh()
                    .many(
                        include_str!("../../sql/events_after.sql"),
                        &[(&tenant.0, Type::UUID), (&job.0, Type::UUID), (&seq, Type::INT8)],
                    )
                    .await
            }
            None => {
                self.fresh()
                    .many(include_str!("../../sql/any_events_after.sql"), &[(&job.0, Type::UUID), (&seq, Type::INT8)])
                    .await
            }
        }
    }

    /// Where a tenant stands.
    pub async fn usage(&self, tenant: TenantId) -> Result<Option<Usage>, StoreError> {
        self.fresh().optional(include_str!("../../sql/usage.sql"), &[(&tenant.0, Type::UUID)]).await
    }

    /// Cancels an analysis with all its children. Safe to repeat.
    pub async fn cancel(&self, tenant: TenantId, id: JobId) -> Result<CancelOutcome, StoreError> {
        self.one(include_str!("../../sql/cancel.sql"), &[(&tenant.0, Type::UUID), (&id.0, Type::UUID)]).await
    }

    /// The database's clock.
    pub async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.one("select to_jsonb(now())", &[]).await
    }
}
