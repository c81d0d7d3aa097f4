//! Claims, their leases, and the progress of claimed jobs.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use switchyard_contract::{Kind, Lane};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    connect::Store,
    error::StoreError,
    run_key::{RunKey, columns},
};
use crate::{
    handler::{ChildResult, ClaimedJob, Step},
    model::{Effects, JobError, JobId, Queue, RunToken, TenantId},
    trace,
};

/// How long a claim lasts without a heartbeat, unless a worker is configured otherwise.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// Who claims, and for how long.
#[derive(Debug, Clone)]
pub struct Lease<'a> {
    /// Name of the worker process, for people.
    pub worker: &'a str,
    /// How long the claim lasts without a heartbeat.
    pub duration: Duration,
    /// Identifies this call, so that it can be repeated if its response is lost.
    pub call: Uuid,
    /// Whether this call is a repetition. It then returns the jobs that the first call claimed and
    /// that are still claimed by it. It claims others only if there are none.
    pub again: bool,
}

/// A claimed job with its fencing token.
#[derive(Debug, Clone)]
pub struct Claim {
    pub job: ClaimedJob,
    pub token: RunToken,
    pub effects: Effects,
    /// Position in the trace that the job belongs to.
    pub trace: Option<trace::Context>,
    /// Time since the job was created; `None` after a replay and for a correction.
    pub age: Option<Duration>,
}

impl Claim {
    /// The key that later writes need.
    pub const fn run_key(&self) -> RunKey {
        RunKey { job: self.job.id, token: self.token }
    }
}

/// Progress of a claimed job, for its watchers.
#[derive(Debug, Clone)]
pub struct ProgressReport {
    pub run_key: RunKey,
    /// Percent, at most 99: 100 is completion.
    pub percent: u8,
    pub stage: String,
}

/// A claim as the database returns it.
#[derive(Deserialize)]
struct ClaimDocument {
    id: JobId,
    root: JobId,
    tenant: TenantId,
    kind: Kind,
    lane: Lane,
    attempt: i32,
    username: String,
    input: Value,
    /// Absent where an older version set the functions up.
    #[serde(default)]
    corrects: bool,
    joins: bool,
    kept: Option<Value>,
    children: Vec<ChildDocument>,
    token: RunToken,
    effects: Effects,
    #[serde(default)]
    trace: Option<String>,
    #[serde(default)]
    age_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct ChildDocument {
    kind: Kind,
    input: Value,
    output: Option<Value>,
    error: Option<JobError>,
}

impl From<ClaimDocument> for Claim {
    fn from(claim: ClaimDocument) -> Self {
        let children = claim.children.into_iter().map(|child| ChildResult {
            kind: child.kind,
            input: child.input,
            result: match child.error {
                Some(error) => Err(error),
                None => Ok(child.output.unwrap_or(Value::Null)),
            },
        });
        let step = if claim.joins {
            Step::Join { kept: claim.kept.unwrap_or(Value::Null), children: children.collect() }
        } else {
            Step::Start
        };
        Self {
            job: ClaimedJob {
                id: claim.id,
                root: claim.root,
                tenant: claim.tenant,
                kind: claim.kind,
                lane: claim.lane,
                attempt: claim.attempt,
                username: claim.username,
                input: claim.input,
                corrects: claim.corrects,
                step,
            },
            token: claim.token,
            effects: claim.effects,
            trace: claim.trace.as_deref().and_then(trace::Context::parse),
            age: claim.age_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }
}

impl Store {
    /// Claims up to `limit` runnable jobs of `queue` and starts their leases.
    ///
    /// Runnable are queued jobs, retries that are due, and jobs whose last child has ended. Jobs
    /// are returned in `turn` order. There may be fewer than `limit`, or none: the queue is paused,
    /// or the lane runs its maximum on the platform. A repeated call with the same `call` returns
    /// the jobs that the first one claimed, so a lost response is safe to retry.
    ///
    /// # Errors
    /// Any [`StoreError`]. If it [is passing](StoreError::is_transient), repeat the call.
    pub async fn claim(&self, queue: Queue, limit: u32, lease: &Lease<'_>) -> Result<Vec<Claim>, StoreError> {
        // An analysis counts against its lane while its children run, so they need no limit.
        let max_running = (queue.kind == Kind::General)
            .then(|| i32::try_from(self.database.policy.lanes.get(queue.lane).max_running).unwrap_or(i32::MAX));
        let claims: Vec<ClaimDocument> = self
            .database
            .essential()
            .one(
                include_str!("../../sql/claim.sql"),
                &[
                    (&queue.kind.as_str(), Type::TEXT),
                    (&queue.lane.as_str(), Type::TEXT),
                    (&i32::try_from(limit).unwrap_or(i32::MAX), Type::INT4),
                    (&max_running, Type::INT4),
                    (&lease.worker, Type::TEXT),
                    (&lease.duration.as_secs_f64(), Type::FLOAT8),
                    (&lease.call, Type::UUID),
                    (&lease.again, Type::BOOL),
                ],
            )
            .await?;
        Ok(claims.into_iter().map(Claim::from).collect())
    }

    /// Extends leases, and returns the jobs that are still claimed. Safe to repeat.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn heartbeat(&self, run_keys: &[RunKey], lease: Duration) -> Result<Vec<JobId>, StoreError> {
        let (jobs, tokens) = columns(run_keys);
        self.database
            .essential()
            .one(
                include_str!("../../sql/heartbeat.sql"),
                &[(&jobs, Type::UUID_ARRAY), (&tokens, Type::INT8_ARRAY), (&lease.as_secs_f64(), Type::FLOAT8)],
            )
            .await
    }

    /// Writes the progress of analyses. A child's progress shows in its analysis when it ends.
    /// Reports of jobs that are no longer claimed are ignored, and progress never decreases.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn progress(&self, reports: &[ProgressReport]) -> Result<Effects, StoreError> {
        let (jobs, tokens) = columns(reports.iter().map(|report| &report.run_key));
        let percents: Vec<i16> = reports.iter().map(|report| i16::from(report.percent.min(99))).collect();
        let stages: Vec<String> = reports.iter().map(|report| report.stage.replace('\0', "\u{FFFD}")).collect();
        self.database
            .essential()
            .one(
                include_str!("../../sql/progress.sql"),
                &[
                    (&jobs, Type::UUID_ARRAY),
                    (&tokens, Type::INT8_ARRAY),
                    (&percents, Type::INT2_ARRAY),
                    (&stages, Type::TEXT_ARRAY),
                ],
            )
            .await
    }
}
