//! Everyone's jobs.

use axum::{Json, extract::State};
use switchyard_jobs::store;

use crate::{
    auth::Admin,
    input::Query,
    jobs::Listing,
    problem::Problem,
    state::App,
    views::{JobPage, JobView},
};

/// List everyone's jobs, newest first.
#[utoipa::path(
    get,
    path = "/admin/v1/jobs",
    operation_id = "admin_list_jobs",
    tag = "admin",
    params(Listing),
    responses((status = 200, description = "A page of jobs", body = JobPage)),
)]
pub async fn admin_list_jobs(
    State(app): State<App>,
    _: Admin,
    Query(listing): Query<Listing>,
) -> Result<Json<JobPage>, Problem> {
    let store::JobPage { jobs, next } =
        app.store.all_jobs(&listing.filter()?).await.map_err(|error| app.store_problem(error))?;
    Ok(Json(JobPage {
        jobs: jobs.into_iter().map(JobView::for_admin).collect(),
        next_cursor: next.map(|id| id.to_string()),
    }))
}
