//! The shapes that callers see.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use switchyard_contract::{Kind, Lane, Tier};
use switchyard_jobs::{
    model::{FailedAttempt, Job, JobError},
    store,
};
use utoipa::{
    ToSchema,
    openapi::schema::{Object, ObjectBuilder, Type},
};
use uuid::Uuid;

fn one_of(names: impl Iterator<Item = &'static str>, what: &str) -> Object {
    let names: Vec<_> = names.collect();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(what))
        .examples(names.first().copied())
        .enum_values(Some(names))
        .build()
}

/// Schema of a lane's name.
pub fn lane_schema() -> Object {
    one_of(Lane::ALL.iter().map(|lane| lane.as_str()), "A priority lane; the tenant's tier decides.")
}

/// Schema of a worker kind's name.
pub fn kind_schema() -> Object {
    one_of(Kind::ALL.iter().map(|kind| kind.as_str()), "What a worker pool does.")
}

/// Schema of a tier's name.
pub fn tier_schema() -> Object {
    one_of(Tier::ALL.iter().map(|tier| tier.as_str()), "What a tenant has bought.")
}

/// Schema of a job's state.
pub fn state_schema() -> Object {
    let names = ["queued", "running", "retrying", "completed", "dead", "cancelled"];
    one_of(names.into_iter(), "Where a job is in its life. The last three are final.")
}

/// Why a job failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobError)]
pub struct ErrorView {
    /// Stable, for programs.
    #[schema(example = "profile-not-found")]
    pub code: String,
    /// For people.
    pub message: String,
}

impl From<JobError> for ErrorView {
    fn from(error: JobError) -> Self {
        Self { code: error.code, message: error.message }
    }
}

/// One failed attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FailedAttempt)]
pub struct FailureView {
    /// Counts from 1.
    pub attempt: i32,
    pub at: DateTime<Utc>,
    /// Stable, for programs.
    #[schema(example = "profile-source-unavailable")]
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether trying again could not have helped.
    pub permanent: bool,
}

impl From<FailedAttempt> for FailureView {
    fn from(failed: FailedAttempt) -> Self {
        let FailedAttempt { attempt, at, error } = failed;
        Self { attempt, at, code: error.code, message: error.message, permanent: error.permanent }
    }
}

/// An analysis, as its tenant sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    pub id: Uuid,
    #[schema(schema_with = state_schema)]
    pub state: &'static str,
    #[schema(schema_with = lane_schema)]
    pub lane: Lane,
    /// The profile that is analysed.
    #[schema(example = "ada")]
    pub username: String,
    /// The attempt that runs or ran last; 0 before the first.
    #[schema(minimum = 0)]
    pub attempt: i32,
    /// Percent.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: i16,
    /// What is being done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "images")]
    pub stage: Option<String>,
    pub created_at: DateTime<Utc>,
    /// When it came to a final state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// Why the last failed attempt failed; absent when none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// Whose job it is; only in answers to the admin key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.0,
            state: job.state.public(),
            lane: job.lane,
            username: job.username,
            attempt: job.attempt,
            progress: job.progress,
            stage: Some(job.stage).filter(|stage| !stage.is_empty()),
            created_at: job.created_at,
            finished_at: job.finished_at,
            error: job.error.map(ErrorView::from),
            tenant: None,
        }
    }
}

impl JobView {
    /// The job with its tenant's id.
    pub fn for_admin(job: Job) -> Self {
        let tenant = job.tenant.0;
        Self { tenant: Some(tenant), ..job.into() }
    }
}

/// What a request cost.
#[derive(Debug, Serialize, ToSchema)]
pub struct Credits {
    /// Whole credits taken; given back when the analysis fails for good or is cancelled before it ran.
    pub charged: i64,
    /// Whole credits left.
    pub balance: i64,
}

/// An accepted request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    pub job: JobView,
    pub credits: Credits,
}

/// A recent result, without a new analysis and without a charge.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cached {
    #[schema(value_type = crate::analysis_result::AnalysisResult)]
    pub result: Value,
    /// Seconds since the analysis was completed.
    pub age_seconds: u64,
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobPage {
    pub jobs: Vec<JobView>,
    /// What to pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl From<store::JobPage> for JobPage {
    fn from(page: store::JobPage) -> Self {
        Self {
            jobs: page.jobs.into_iter().map(JobView::from).collect(),
            next_cursor: page.next.map(|id| id.to_string()),
        }
    }
}
