//! The jobs of every tenant.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    model::{Event, JobId, TenantId},
    store::{self, JobFilter},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    auth::caller::Admin,
    http::{
        input::{Path, Query},
        problem::Problem,
    },
    routes::{
        jobs::{Cancelled, Listing, cancelled, result},
        ledger::EntryView,
    },
    state::App,
    views::{ErrorView, FailureView, JobPage, JobView},
};

/// Filters of a list of every tenant's jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AdminListing {
    /// Only jobs in this state.
    #[param(schema_with = crate::views::state_schema, required = false)]
    state: Option<String>,
    /// Only jobs of this lane.
    #[param(schema_with = crate::views::lane_schema, required = false)]
    lane: Option<String>,
    /// Only jobs of this tenant.
    tenant: Option<Uuid>,
    /// The id of a job, or the prefix of a username.
    #[param(max_length = 64)]
    search: Option<String>,
    /// Whether to include the analyses of discovered profiles.
    discovered: Option<bool>,
    /// `next_cursor` of the previous page.
    cursor: Option<Uuid>,
    /// Jobs on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

impl AdminListing {
    fn filter(self) -> Result<JobFilter, Problem> {
        let Self { state, lane, tenant, search, discovered, cursor, limit } = self;
        let filter = Listing { state, lane, search, discovered, cursor, limit }.filter()?;
        // A shorter prefix matches so many jobs of all tenants that the query would sort most of
        // them.
        if tenant.is_none() && filter.search.as_ref().is_some_and(|search| search.len() < 3) {
            return Err(Problem::invalid(
                "search",
                "must have at least 3 characters, unless the filter names a tenant",
            ));
        }
        Ok(JobFilter { tenant: tenant.map(TenantId), ..filter })
    }
}

/// List the jobs of every tenant, newest first.
#[utoipa::path(
    get,
    path = "/admin/v1/jobs",
    operation_id = "admin_list_jobs",
    tag = "admin",
    params(AdminListing),
    responses((status = 200, description = "A page of jobs", body = JobPage)),
)]
pub async fn admin_list_jobs(
    State(app): State<App>,
    _: Admin,
    Query(listing): Query<AdminListing>,
) -> Result<Json<JobPage>, Problem> {
    let store::JobPage { jobs, next } = app.store.all_jobs(&listing.filter()?).await?;
    Ok(Json(JobPage {
        jobs: jobs.into_iter().map(JobView::for_admin).collect(),
        next_cursor: next.map(|id| id.to_string()),
    }))
}

/// An analysis with its parts, events and ledger entries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobReport)]
pub struct ReportView {
    pub job: JobView,
    /// The worker with the lease, or with the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The leader: the analysis of the same profile whose pipeline this one shares. The parts are
    /// those of the leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<Uuid>,
    /// Failed attempts of the analysis itself, oldest first.
    pub failures: Vec<FailureView>,
    pub parts: Vec<PartView>,
    /// The events of the job.
    pub timeline: Vec<EventView>,
    /// The ledger entries of the job.
    pub ledger: Vec<EntryView>,
}

/// A part of an analysis.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobPart)]
pub struct PartView {
    pub id: Uuid,
    #[schema(schema_with = crate::views::kind_schema)]
    pub kind: Kind,
    #[schema(schema_with = crate::views::lane_schema)]
    pub lane: Lane,
    #[schema(schema_with = crate::views::state_schema)]
    pub state: &'static str,
    pub attempt: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    pub created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// Failed attempts, oldest first.
    pub failures: Vec<FailureView>,
}

impl From<store::ChildReport> for PartView {
    fn from(part: store::ChildReport) -> Self {
        let store::ChildReport { job, worker, failures } = part;
        Self {
            id: job.id.0,
            kind: job.kind,
            lane: job.lane,
            state: job.state.public(),
            attempt: job.attempt,
            worker,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            error: job.error.map(ErrorView::from),
            failures: failures.into_iter().map(FailureView::from).collect(),
        }
    }
}

/// A change of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobEvent)]
pub struct EventView {
    pub seq: i64,
    pub state: String,
    pub progress: i16,
    pub stage: String,
    pub at: DateTime<Utc>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let Event { seq, job: _, state, progress, stage, at } = event;
        Self { seq, state, progress, stage, at }
    }
}

/// Read an analysis with its parts, events and ledger entries.
#[utoipa::path(
    get,
    path = "/admin/v1/jobs/{id}",
    operation_id = "admin_get_job",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The analysis")),
    responses((status = 200, description = "The analysis with its parts, timeline and ledger", body = ReportView)),
)]
pub async fn admin_get_job(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<ReportView>, Problem> {
    let report = app.store.job_report(JobId(id)).await?;
    let report = report.ok_or_else(|| Problem::not_found("job"))?;
    Ok(Json(ReportView {
        job: JobView::for_admin(report.job),
        worker: report.worker,
        trace: report.trace,
        leader: report.leader.map(|leader| leader.0),
        failures: report.failures.into_iter().map(FailureView::from).collect(),
        parts: report.children.into_iter().map(PartView::from).collect(),
        timeline: report.timeline.into_iter().map(EventView::from).collect(),
        ledger: report.ledger.into_iter().map(EntryView::from).collect(),
    }))
}

/// Read the result of any tenant's finished job.
#[utoipa::path(
    get,
    path = "/admin/v1/jobs/{id}/result",
    operation_id = "admin_get_job_result",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The analysis")),
    responses((status = 200, description = "The analysis", body = crate::analysis_result::AnalysisResult)),
)]
pub async fn admin_get_job_result(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<Value>, Problem> {
    result(app.store.any_result(JobId(id)).await?)
}

/// Cancel any tenant's job.
///
/// The price is refunded if no worker had started the job. Cancelling a cancelled job again has no
/// effect.
#[utoipa::path(
    post,
    path = "/admin/v1/jobs/{id}/cancel",
    operation_id = "admin_cancel_job",
    tag = "admin",
    params(("id" = Uuid, Path, description = "The analysis")),
    responses((status = 200, description = "The job is cancelled", body = Cancelled)),
)]
pub async fn admin_cancel_job(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<Cancelled>, Problem> {
    let outcome = app.store.cancel_any(JobId(id)).await?;
    cancelled(&app, outcome).await
}
