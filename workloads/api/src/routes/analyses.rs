//! Requests for an analysis. A request is validated, priced, admitted and stored in one round trip,
//! and answered before any work starts.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::Utc;
use serde::Deserialize;
use serde_json::json;
use switchyard_jobs::{
    cache::{CachedResult, Epoch},
    model::Job,
    store::{Admission, Idempotency, SubmitRequest},
};
use utoipa::ToSchema;

use crate::{
    auth::{authenticator::PresentedKey, bearer::unknown_key},
    http::{
        input::{IdempotencyKey, JsonBody},
        problem::{Problem, ProblemType},
    },
    routes::username,
    state::App,
    views::{Accepted, Cached, Credits, JobView},
};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// `hit` on a response from the cache.
pub const CACHE: HeaderName = HeaderName::from_static("x-cache");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request for an analysis.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalysisRequest {
    /// The profile: 1 to 64 letters, digits, `.`, `_` and `-`; a leading `@` is dropped.
    #[schema(example = "ada.lovelace")]
    username: String,
    /// Run a new analysis even if there is a result of the last hour.
    #[serde(default)]
    #[schema(default = false)]
    force_refresh: bool,
}

/// Request an analysis.
///
/// A result of the last hour is returned at once and free of charge, unless `force_refresh` is set.
/// Otherwise the API charges the price and queues a job in the lane of the tenant's tier. A request
/// with an `Idempotency-Key` may be repeated for 24 h: it has the first response again.
#[utoipa::path(
    post,
    path = "/v1/analyses",
    operation_id = "submit_analysis",
    tag = "analyses",
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, description = "Names the request, so that a repetition has no further effect")),
    request_body = AnalysisRequest,
    responses(
        (status = 202, description = "Accepted, now or before under this idempotency key", body = Accepted, headers(
            ("Location" = String, description = "The job"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` on the repetition of an earlier response"),
        )),
        (status = 200, description = "A result of the last hour", body = Cached, headers(
            ("X-Cache" = String, description = "`hit`"),
        )),
    ),
)]
pub async fn submit_analysis(
    State(app): State<App>,
    key: PresentedKey,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<AnalysisRequest>,
) -> Result<Response, Problem> {
    let AnalysisRequest { username, force_refresh } = request;
    let username = username::parse(&username)?;
    // A canonical form, so that requests with different white space are the same request.
    let canonical = || json!([username, force_refresh]).to_string();
    let idempotency = idempotency_key.map(|name| Idempotency::of(name, canonical().as_bytes()));
    let request = SubmitRequest { key: key.hash, username, force_refresh, idempotency };
    let response = respond(&app, &key, request).await;
    if let Err(problem) = &response {
        app.metrics().submission(problem.kind.slug());
    }
    response
}

/// Answers from the cache if it has a result, else from the store.
async fn respond(app: &App, key: &PresentedKey, request: SubmitRequest) -> Result<Response, Problem> {
    if !request.force_refresh
        && let Ok(look) = app.cache.lookup(&request.username).await
    {
        app.auth.keys.set_epoch(look.epoch);
        if let Some(result) = look.result {
            return respond_from_cache(app, key, &request, &result, look.epoch).await;
        }
    }
    submit(app, key, request).await
}

/// Checks the key first, and an earlier use of the idempotency key, whose response takes
/// precedence.
async fn respond_from_cache(
    app: &App,
    key: &PresentedKey,
    request: &SubmitRequest,
    result: &CachedResult,
    epoch: Option<Epoch>,
) -> Result<Response, Problem> {
    let tenant = app.auth.trusted_tenant(key, epoch).await?;
    let earlier = match &request.idempotency {
        Some(idempotency) => app.store.answered(tenant, idempotency).await?,
        None => None,
    };
    match earlier {
        Some(admission) => admitted(app, admission),
        None => {
            app.metrics().submission("cached");
            Ok(cached(result))
        }
    }
}

async fn submit(app: &App, key: &PresentedKey, request: SubmitRequest) -> Result<Response, Problem> {
    let epoch = app.auth.keys.epoch();
    let admission = app.store.submit(request).await;
    if let Ok(Admission::Unauthenticated) = admission {
        return Err(app.auth.reject(key));
    }
    app.auth.release(key);
    let admission = admission?;
    if let Admission::Accepted { job, .. } | Admission::Replayed { job, .. } = &admission {
        app.auth.keys.confirm(key.hash, job.tenant, epoch);
    }
    admitted(app, admission)
}

/// A [`Cached`] around the bytes of the result, which may be large and need no parsing.
fn cached(result: &CachedResult) -> Response {
    let json = result.json();
    let mut body = Vec::with_capacity(json.len() + 48);
    body.extend_from_slice(b"{\"result\":");
    body.extend_from_slice(json);
    body.extend_from_slice(format!(",\"age_seconds\":{}}}", result.age.as_secs()).as_bytes());
    let headers = [(CACHE, HeaderValue::from_static("hit")), (header::CONTENT_TYPE, JSON)];
    (headers, body).into_response()
}

fn admitted(app: &App, admission: Admission) -> Result<Response, Problem> {
    match admission {
        Admission::Accepted { job, charged, balance, coalesced, effects } => {
            // The relay announces what this does not deliver, so that the response does not wait
            // for it.
            app.announce(effects);
            app.metrics().submission(if coalesced { "coalesced" } else { "accepted" });
            Ok(accepted(job, charged, balance))
        }
        Admission::Replayed { job, charged, balance } => {
            app.metrics().submission("replayed");
            let mut response = accepted(job, charged, balance);
            response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        refusal => Err(refused(refusal)),
    }
}

fn accepted(job: Job, charged: i64, balance: i64) -> Response {
    let location = format!("/v1/jobs/{}", job.id);
    let body = Accepted { job: JobView::from(job), credits: Credits { charged, balance } };
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response()
}

#[expect(clippy::needless_pass_by_value, reason = "the admission ends as the response")]
fn refused(admission: Admission) -> Problem {
    match admission {
        // The caller handles both.
        Admission::Accepted { .. } | Admission::Replayed { .. } => Problem::internal(),
        Admission::Unauthenticated => unknown_key(),
        Admission::InsufficientCredits { balance, price } => Problem::new(
            ProblemType::InsufficientCredits,
            format!("An analysis costs {price} credits; the balance is {balance}."),
        )
        .with("balance", balance)
        .with("price", price),
        Admission::ConcurrentLimit { limit, retry_after } => Problem::new(
            ProblemType::ConcurrentLimit,
            format!(
                "The tier allows {limit} unfinished analyses, and the tenant has as many. Wait for one or cancel one."
            ),
        )
        .with("limit", limit)
        .retry_after(Duration::from_secs(retry_after)),
        Admission::DailyLimit { limit, resets_at } => Problem::new(
            ProblemType::DailyLimit,
            format!("The tier allows {limit} analyses in a UTC day, and the tenant has requested as many today."),
        )
        .with("limit", limit)
        .with("resets_at", resets_at.to_rfc3339())
        .retry_after((resets_at - Utc::now()).to_std().unwrap_or(Duration::from_secs(1))),
        Admission::LaneFull { lane, retry_after } => {
            Problem::new(ProblemType::LaneFull, format!("The {lane} lane is full. Nothing was charged; try again."))
                .with("lane", lane.as_str())
                .retry_after(Duration::from_secs(retry_after))
        }
        Admission::IdempotencyConflict => Problem::new(
            ProblemType::IdempotencyConflict,
            "The Idempotency-Key belongs to a request with another body. Use a new key for a new request.",
        ),
    }
}
