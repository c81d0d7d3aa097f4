//! The JSON objects that several routes return.

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
    one_of(Lane::ALL.iter().map(|lane| lane.as_str()), "A priority lane, which the tenant's tier decides.")
}

/// Schema of a worker kind's name.
pub fn kind_schema() -> Object {
    one_of(Kind::ALL.iter().map(|kind| kind.as_str()), "The kind of work of a worker pool.")
}

/// Schema of a tier's name.
pub fn tier_schema() -> Object {
    one_of(Tier::ALL.iter().map(|tier| tier.as_str()), "The tier of a tenant.")
}

/// Schema of a job's state.
pub fn state_schema() -> Object {
    let names = ["queued", "running", "retrying", "completed", "dead", "cancelled"];
    one_of(names.into_iter(), "The state of a job. The last three are final.")
}

/// The error of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobError)]
pub struct ErrorView {
    /// Stable code for programs.
    #[schema(example = "profile-not-found")]
    pub code: String,
    /// Message for people.
    pub message: String,
}

impl From<JobError> for ErrorView {
    fn from(error: JobError) -> Self {
        Self { code: error.code, message: error.message }
    }
}

/// A failed attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FailedAttempt)]
pub struct FailureView {
    /// Number of the attempt, from 1.
    pub attempt: i32,
    pub at: DateTime<Utc>,
    /// Stable code for programs.
    #[schema(example = "profile-source-unavailable")]
    pub code: String,
    /// Message for people.
    pub message: String,
    /// Whether a retry could not succeed.
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
    /// The username of the profile.
    #[schema(example = "ada")]
    pub username: String,
    /// The current or last attempt; 0 before the first.
    #[schema(minimum = 0)]
    pub attempt: i32,
    /// Percent.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: i16,
    /// The current step of the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "images")]
    pub stage: Option<String>,
    pub created_at: DateTime<Utc>,
    /// When it reached a final state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// The error of the last failed attempt; absent if none failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// The tenant of the job; only in the admin API.
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
    /// The job with the id of its tenant.
    pub fn for_admin(job: Job) -> Self {
        let tenant = job.tenant.0;
        Self { tenant: Some(tenant), ..job.into() }
    }
}

/// The price of a request, and the balance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Credits {
    /// Whole credits charged; refunded if the analysis fails for good or is cancelled before it
    /// runs.
    pub charged: i64,
    /// The balance in whole credits.
    pub balance: i64,
}

/// An accepted request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    pub job: JobView,
    pub credits: Credits,
}

/// A recent result, free of charge.
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
    /// The `cursor` of the next page; absent on the last one.
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
