//! What is known about a profile.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    auth::Caller,
    input::Path,
    problem::Problem,
    state::{App, store_problem},
    username,
};

/// The latest analysis of a profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    #[schema(example = "ada")]
    pub username: String,
    /// The analysis that it comes from.
    pub job: Uuid,
    pub analysed_at: DateTime<Utc>,
    /// Seconds since then.
    pub age_seconds: u64,
    #[schema(value_type = crate::analysis_result::AnalysisResult)]
    pub result: Value,
}

/// Read the latest analysis of a profile that this tenant may see: its own, and those that its analyses have discovered.
#[utoipa::path(
    get,
    path = "/v1/profiles/{username}",
    operation_id = "get_profile",
    tag = "profiles",
    params(("username" = String, Path, description = "The profile; a leading `@` is dropped")),
    responses((status = 200, description = "The latest analysis", body = Profile)),
)]
pub async fn get_profile(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Profile>, Problem> {
    let username = username::parse(&name)?;
    let found = app.store.latest_result(caller.tenant, &username).await.map_err(store_problem)?;
    let (job, result) = found.ok_or_else(|| Problem::not_found("profile among your analyses"))?;
    let analysed_at = job.finished_at.unwrap_or(job.created_at);
    let age_seconds = (Utc::now() - analysed_at).num_seconds().max(0).unsigned_abs();
    Ok(Json(Profile { username: job.username, job: job.id.0, analysed_at, age_seconds, result }))
}
