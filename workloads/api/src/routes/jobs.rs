//! Following an analysis: look, list, read the result, cancel.

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
    http::input::{Path, Query, page_limit},
    http::problem::{Problem, ProblemType},
    state::App,
    views::{JobPage, JobView},
};

/// Which jobs to list.
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
    /// A job's id, or how a profile's name begins.
    #[param(max_length = 64)]
    pub search: Option<String>,
    /// Also analyses of profiles that another analysis has found.
    pub discovered: Option<bool>,
    /// `next_cursor` of the page before.
    pub cursor: Option<Uuid>,
    /// Jobs on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
}

impl Listing {
    /// The filter; what it does not know is refused.
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

/// What names and ids are made of; anything else finds nothing, and says so.
fn parse_search(text: &str) -> Result<String, Problem> {
    let text = text.trim().trim_start_matches('@');
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match (1..=64).contains(&text.len()) && text.chars().all(known) {
        // Ids are written in small letters.
        true => Ok(text.parse::<Uuid>().map_or_else(|_| text.to_owned(), |id| id.to_string())),
        false => Err(Problem::invalid("search", "must be 1 to 64 letters, digits, '.', '_' and '-'")),
    }
}

fn parse_lane(name: &str) -> Result<Lane, Problem> {
    name.parse::<Lane>().map_err(|error| Problem::invalid("lane", format!("must be one of: {}", error.known)))
}

/// Look at a job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "get_job",
    tag = "jobs",
    params(("id" = Uuid, Path, description = "The job")),
    responses((status = 200, description = "The job", body = JobView)),
)]
pub async fn get_job(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<Json<JobView>, Problem> {
    let job = app.store.job(caller.tenant, JobId(id)).await.map_err(|error| app.store_problem(error))?;
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
    let page = app.store.jobs(caller.tenant, &listing.filter()?).await.map_err(|error| app.store_problem(error))?;
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
    result(app.store.result(caller.tenant, JobId(id)).await.map_err(|error| app.store_problem(error))?)
}

/// What there is to a job's result, as an answer.
pub fn result(outcome: ResultOutcome) -> Result<Json<Value>, Problem> {
    match outcome {
        ResultOutcome::Finished { result, .. } => Ok(Json(result)),
        ResultOutcome::NotFound => Err(Problem::not_found("job")),
        ResultOutcome::NotFinished { job } if job.state.is_terminal() => {
            let why = job.error.map(|error| format!(" ({error})")).unwrap_or_default();
            let detail = format!("The job is {}{why}; it has no result.", job.state.public());
            Err(Problem::new(ProblemType::NoResult, detail).figure("state", job.state.public()))
        }
        ResultOutcome::NotFinished { job } => {
            let detail = format!("The job is {}, at {} %.", job.state.public(), job.progress);
            Err(Problem::new(ProblemType::NotFinished, detail)
                .figure("state", job.state.public())
                .figure("progress", job.progress))
        }
    }
}

/// A cancelled job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cancelled {
    pub job: JobView,
    pub credits: Refund,
}

/// What cancelling gave back.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refund {
    /// The price when no worker had begun, else 0.
    pub refunded: i64,
    /// Whole credits now.
    pub balance: i64,
}

/// Cancel a job.
///
/// The price comes back when no worker had begun. Cancelling a cancelled job again is fine and answers the same way.
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
    let outcome = app.store.cancel(caller.tenant, JobId(id)).await.map_err(|error| app.store_problem(error))?;
    cancelled(&app, outcome).await
}

/// What cancelling came to, as an answer; tells watchers and workers of it.
pub async fn cancelled(app: &App, outcome: CancelOutcome) -> Result<Json<Cancelled>, Problem> {
    match outcome {
        CancelOutcome::NotFound => Err(Problem::not_found("job")),
        CancelOutcome::AlreadyEnded { job } if job.state == JobState::Cancelled => {
            let usage = app.store.usage(job.tenant).await.map_err(|error| app.store_problem(error))?;
            let balance = usage.map_or(0, |usage| usage.credits);
            Ok(Json(Cancelled { job: job.into(), credits: Refund { refunded: 0, balance } }))
        }
        CancelOutcome::AlreadyEnded { job } => {
            let detail = format!("The job is {}, which is final.", job.state.public());
            Err(Problem::new(ProblemType::AlreadyFinished, detail).figure("state", job.state.public()))
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
    fn unknown_filters_are_refused_with_what_there_is() {
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
