//! A tenant's jobs: read, list, read the result, cancel.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchyard_contract::Lane;
use switchyard_jobs::{
    model::{JobId, JobState},
    store::{CancelOutcome, JobFilter, ResultOutcome},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    auth::caller::Caller,
    http::{
        input::{Path, Query, page_limit},
        problem::{Problem, ProblemType},
    },
    state::App,
    views::{JobPage, JobView},
};

/// Filters of a list of jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Only jobs in this state.
    #[param(schema_with = crate::views::state_schema, required = false)]
    pub state: Option<String>,
    /// Only jobs of this lane.
    #[param(schema_with = crate::views::lane_schema, required = false)]
    pub lane: Option<String>,
    /// The id of a job, or the prefix of a username.
    #[param(max_length = 64)]
    pub search: Option<String>,
    /// Whether to include the analyses of discovered profiles.
    pub discovered: Option<bool>,
    /// `next_cursor` of the previous page.
    pub cursor: Option<Uuid>,
    /// Jobs on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
}

impl Listing {
    /// The filter of the store.
    ///
    /// # Errors
    /// `invalid-request` for an unknown state or lane, or an invalid search or limit.
    pub fn filter(self) -> Result<JobFilter, Problem> {
        let limit = page_limit(self.limit)?;
        Ok(JobFilter {
            state: self.state.as_deref().map(parse_state).transpose()?,
            lane: self.lane.as_deref().map(parse_lane).transpose()?,
            discovered: self.discovered.unwrap_or(false),
            search: self.search.as_deref().map(parse_search).transpose()?,
            tenant: None,
            cursor: self.cursor.map(JobId),
            limit,
        })
    }
}

fn parse_state(name: &str) -> Result<JobState, Problem> {
    use JobState::{Cancelled, Completed, Dead, Queued, Retrying, Running};
    let known = [Queued, Running, Retrying, Completed, Dead, Cancelled];
    known.into_iter().find(|state| state.public() == name).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|state| state.public()).collect();
        Problem::invalid("state", format!("must be one of: {}", names.join(", ")))
    })
}

/// Accepts the characters of usernames and ids.
fn parse_search(text: &str) -> Result<String, Problem> {
    let text = text.trim().trim_start_matches('@');
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&text.len()) && text.chars().all(known) {
        // The database compares ids in lower case.
        Ok(text.parse::<Uuid>().map_or_else(|_| text.to_owned(), |id| id.to_string()))
    } else {
        Err(Problem::invalid("search", "must be 1 to 64 letters, digits, '.', '_' and '-'"))
    }
}

fn parse_lane(name: &str) -> Result<Lane, Problem> {
    name.parse::<Lane>().map_err(|error| Problem::invalid("lane", format!("must be one of: {}", error.known)))
}

/// Read a job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "get_job",
    tag = "jobs",
    params(("id" = Uuid, Path, description = "The job")),
    responses((status = 200, description = "The job", body = JobView)),
)]
pub async fn get_job(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Json<JobView>, Problem> {
    let job = app.store.job(caller.tenant, JobId(id)).await?;
    job.map(|job| Json(job.into())).ok_or_else(|| Problem::not_found("job"))
}

/// List jobs, newest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "list_jobs",
    tag = "jobs",
    params(Listing),
    responses((status = 200, description = "A page of jobs", body = JobPage)),
)]
pub async fn list_jobs(
    State(app): State<App>,
    caller: Caller,
    Query(listing): Query<Listing>,
) -> Result<Json<JobPage>, Problem> {
    let page = app.store.jobs(caller.tenant, &listing.filter()?).await?;
    Ok(Json(page.into()))
}

/// Read the result of a finished job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/result",
    operation_id = "get_job_result",
    tag = "jobs",
    params(("id" = Uuid, Path, description = "The job")),
    responses((status = 200, description = "The analysis", body = crate::analysis_result::AnalysisResult)),
)]
pub async fn get_job_result(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<Value>, Problem> {
    result(app.store.result(caller.tenant, JobId(id)).await?)
}

/// The response with the result of a job.
///
/// # Errors
/// `not-found`, `not-finished` or `no-result`.
pub fn result(outcome: ResultOutcome) -> Result<Json<Value>, Problem> {
    match outcome {
        ResultOutcome::Finished { result, .. } => Ok(Json(result)),
        ResultOutcome::NotFound => Err(Problem::not_found("job")),
        ResultOutcome::NotFinished { job } if job.state.is_terminal() => {
            let why = job.error.map(|error| format!(" ({error})")).unwrap_or_default();
            let detail = format!("The job is {}{why} and has no result.", job.state.public());
            Err(Problem::new(ProblemType::NoResult, detail).with("state", job.state.public()))
        }
        ResultOutcome::NotFinished { job } => {
            let detail = format!("The job is {}, at {} %.", job.state.public(), job.progress);
            Err(Problem::new(ProblemType::NotFinished, detail)
                .with("state", job.state.public())
                .with("progress", job.progress))
        }
    }
}

/// A cancelled job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cancelled {
    pub job: JobView,
    pub credits: Refund,
}

/// The refund of a cancelled job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refund {
    /// The price if no worker had started the job, else 0.
    pub refunded: i64,
    /// The balance in whole credits.
    pub balance: i64,
}

/// Cancel a job.
///
/// The price is refunded if no worker had started the job. Cancelling a cancelled job again has no
/// effect.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    operation_id = "cancel_job",
    tag = "jobs",
    params(("id" = Uuid, Path, description = "The job")),
    responses((status = 200, description = "The job is cancelled", body = Cancelled)),
)]
pub async fn cancel_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<Cancelled>, Problem> {
    let outcome = app.store.cancel(caller.tenant, JobId(id)).await?;
    cancelled(&app, outcome).await
}

/// The response of a cancellation; announces it to watchers and workers.
///
/// # Errors
/// `not-found` or `already-finished`.
pub async fn cancelled(app: &App, outcome: CancelOutcome) -> Result<Json<Cancelled>, Problem> {
    match outcome {
        CancelOutcome::NotFound => Err(Problem::not_found("job")),
        CancelOutcome::AlreadyEnded { job } if job.state == JobState::Cancelled => {
            let usage = app.store.usage(job.tenant).await?;
            let balance = usage.map_or(0, |usage| usage.credits);
            Ok(Json(Cancelled { job: job.into(), credits: Refund { refunded: 0, balance } }))
        }
        CancelOutcome::AlreadyEnded { job } => {
            let detail = format!("The job is {}, which is final.", job.state.public());
            Err(Problem::new(ProblemType::AlreadyFinished, detail).with("state", job.state.public()))
        }
        CancelOutcome::Cancelled { job, refunded, balance, effects } => {
            app.announce(effects);
            Ok(Json(Cancelled { job: job.into(), credits: Refund { refunded, balance } }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_filters_are_invalid() {
        let listing = Listing { state: Some("done".into()), ..Listing::default() };
        assert_eq!(listing.filter().unwrap_err().kind, ProblemType::InvalidRequest);
        let listing = Listing { lane: Some("fast".into()), ..Listing::default() };
        assert_eq!(listing.filter().unwrap_err().kind, ProblemType::InvalidRequest);
        let listing = Listing { limit: Some(0), ..Listing::default() };
        assert_eq!(listing.filter().unwrap_err().kind, ProblemType::InvalidRequest);
        for odd in ["", "a b", "%", &"x".repeat(65)] {
            let listing = Listing { search: Some(odd.to_owned()), ..Listing::default() };
            assert_eq!(listing.filter().unwrap_err().kind, ProblemType::InvalidRequest, "{odd}");
        }
        let listing = Listing { search: Some("@Ada".into()), ..Listing::default() };
        assert_eq!(listing.filter().unwrap().search.as_deref(), Some("Ada"));
        assert_eq!(Listing::default().filter().unwrap().limit, 50);
    }
}
