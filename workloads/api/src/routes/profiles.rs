//! The latest analysis of a profile.

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
    auth::{authenticator::PresentedKey, key_cache::STALE},
    http::{
        input::Path,
        problem::{Problem, ProblemType},
    },
    routes::{analyses::CACHE, username},
    state::App,
};

/// The latest analysis of a profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    #[schema(example = "ada")]
    pub username: String,
    /// The job of the analysis; absent in a response from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Uuid>,
    pub analysed_at: DateTime<Utc>,
    /// Seconds since the analysis.
    pub age_seconds: u64,
    #[schema(value_type = crate::analysis_result::AnalysisResult)]
    pub result: Value,
}

/// Read the latest analysis of a profile.
///
/// A tenant may see its own analyses, and those of profiles that they discovered. While the
/// database is unavailable, the response is the cached result of the last hour, if there is one,
/// with `X-Cache: hit`.
#[utoipa::path(
    get,
    path = "/v1/profiles/{username}",
    operation_id = "get_profile",
    tag = "profiles",
    params(("username" = String, Path, description = "The profile; a leading `@` is dropped")),
    responses((status = 200, description = "The latest analysis", body = Profile, headers(
        ("X-Cache" = Option<String>, description = "`hit` on a response from the cache"),
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
    let tenant = app.auth.tenant(key).await?;
    let found = app.store.latest_result(tenant, username).await?;
    let (job, result) = found.ok_or_else(|| Problem::not_found("analysis of the profile"))?;
    let analysed_at = job.finished_at.unwrap_or(job.created_at);
    let age_seconds = (Utc::now() - analysed_at).num_seconds().max(0).unsigned_abs();
    Ok(Profile { username: job.username, job: Some(job.id.0), analysed_at, age_seconds, result })
}

async fn cached(app: &App, key: &PresentedKey, username: String) -> Option<Profile> {
    let look = app.cache.lookup(&username).await.ok()?;
    app.auth.keys.trusted(&key.hash, look.epoch, STALE)?;
    let cached = look.result?;
    let result = serde_json::from_slice(cached.json()).ok()?;
    Some(Profile {
        username,
        job: None,
        analysed_at: Utc::now() - cached.age,
        age_seconds: cached.age.as_secs(),
        result,
    })
}
