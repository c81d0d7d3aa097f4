//! What is known about a profile.

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    auth::caller::PresentedKey,
    auth::key_cache::STALE,
    http::input::Path,
    http::problem::{Problem, ProblemType},
    routes::analyses::CACHE,
    routes::username,
    state::App,
};

/// The latest analysis of a profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    #[schema(example = "ada")]
    pub username: String,
    /// The analysis that it comes from; absent on an answer from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Uuid>,
    pub analysed_at: DateTime<Utc>,
    /// Seconds since then.
    pub age_seconds: u64,
    #[schema(value_type = crate::analysis_result::AnalysisResult)]
    pub result: Value,
}

/// Read the latest analysis of a profile that this tenant may see: its own, and those that its analyses have discovered.
///
/// While the database is away it is the result of the last hour that anyone would be answered, when there is one; `X-Cache: hit` says so.
#[utoipa::path(
    get,
    path = "/v1/profiles/{username}",
    operation_id = "get_profile",
    tag = "profiles",
    params(("username" = String, Path, description = "The profile; a leading `@` is dropped")),
    responses((status = 200, description = "The latest analysis", body = Profile, headers(
        ("X-Cache" = Option<String>, description = "`hit` when the answer comes from the cache"),
    ))),
)]
pub async fn get_profile(
    State(app): State<App>,
    key: PresentedKey,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let username = username::parse(&name)?;
    match stored(&app, &key, &username).await {
        Ok(profile) => Ok(Json(profile).into_response()),
        Err(problem) if problem.kind == ProblemType::Unavailable => {
            let profile = cached(&app, &key, username).await.ok_or(problem)?;
            Ok(([(CACHE, HeaderValue::from_static("hit"))], Json(profile)).into_response())
        }
        Err(problem) => Err(problem),
    }
}

async fn stored(app: &App, key: &PresentedKey, username: &str) -> Result<Profile, Problem> {
    let tenant = key.tenant(app).await?;
    let found = app.store.latest_result(tenant, username).await.map_err(|error| app.store_problem(error))?;
    let (job, result) = found.ok_or_else(|| Problem::not_found("profile among your analyses"))?;
    let analysed_at = job.finished_at.unwrap_or(job.created_at);
    let age_seconds = (Utc::now() - analysed_at).num_seconds().max(0).unsigned_abs();
    Ok(Profile { username: job.username, job: Some(job.id.0), analysed_at, age_seconds, result })
}

async fn cached(app: &App, key: &PresentedKey, username: String) -> Option<Profile> {
    let look = app.cache.look(&username).await.ok()?;
    app.identities.trusted(&key.hash, look.epoch, STALE)?;
    let kept = look.result?;
    let result = serde_json::from_slice(kept.json()).ok()?;
    Some(Profile { username, job: None, analysed_at: Utc::now() - kept.age, age_seconds: kept.age.as_secs(), result })
}
