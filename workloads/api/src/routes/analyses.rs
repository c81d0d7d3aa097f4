//! Asking for an analysis: checked, priced, admitted and stored in one round trip, and answered before anything is processed.

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
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
    auth::caller::{PresentedKey, unknown_key},
    http::input::JsonBody,
    http::problem::{Problem, ProblemType},
    routes::username,
    state::App,
    views::{Accepted, Cached, Credits, JobView},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// `hit` on answers from the cache.
pub const CACHE: HeaderName = HeaderName::from_static("x-cache");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request for an analysis.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalysisRequest {
    /// The profile: 1 to 64 letters, digits, `.`, `_` and `-`; a leading `@` is dropped.
    #[schema(example = "ada.lovelace")]
    username: String,
    /// Analyse anew even if there is a result of the last hour.
    #[serde(default)]
    #[schema(default = false)]
    force_refresh: bool,
}

/// The header `Idempotency-Key`: 1 to 255 visible ASCII characters.
pub struct IdempotencyKey(Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(key) = given.next() else { return Ok(Self(None)) };
        let plain = (1..=255).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
        match key.to_str() {
            Ok(key) if plain && given.next().is_none() => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::invalid("Idempotency-Key", "must be one value of 1 to 255 visible ASCII characters")),
        }
    }
}

/// Ask for an analysis.
///
/// A result of the last hour is answered at once and costs nothing, unless `force_refresh` is set. Otherwise the analysis is queued in the lane of
/// the tenant's tier and its price taken. With an `Idempotency-Key` the same request may be sent again for 24 h: it is answered as the first time.
#[utoipa::path(
    post,
    path = "/v1/analyses",
    operation_id = "submit_analysis",
    tag = "analyses",
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, description = "Names the request, to repeat it safely")),
    request_body = AnalysisRequest,
    responses(
        (status = 202, description = "Accepted, or accepted before under this idempotency key", body = Accepted, headers(
            ("Location" = String, description = "The job"),
            ("Idempotency-Replayed" = Option<String>, description = "`true` on an answer that was given before"),
        )),
        (status = 200, description = "A result of the last hour", body = Cached, headers(
            ("X-Cache" = String, description = "`hit`"),
        )),
    ),
)]
pub async fn submit_analysis(
    State(app): State<App>,
    key: PresentedKey,
    IdempotencyKey(idempotency): IdempotencyKey,
    JsonBody(request): JsonBody<AnalysisRequest>,
) -> Result<Response, Problem> {
    let username = username::parse(&request.username)?;
    let idempotency = idempotency.map(|key| {
        // The canonical form: the same request with other white space is the same request.
        let canonical = json!([username, request.force_refresh]).to_string();
        Idempotency::of(key, canonical.as_bytes())
    });
    let request = Wish { key, username, force_refresh: request.force_refresh, idempotency };
    let answer = request.answer(&app).await;
    if let Err(problem) = &answer {
        app.metrics.submission(problem.kind.slug());
    }
    answer
}

/// A request that is well-formed.
struct Wish {
    key: PresentedKey,
    username: String,
    force_refresh: bool,
    idempotency: Option<Idempotency>,
}

impl Wish {
    async fn answer(&self, app: &App) -> Result<Response, Problem> {
        if !self.force_refresh
            && let Ok(look) = app.cache.look(&self.username).await
        {
            app.identities.read_epoch(look.epoch);
            if let Some(result) = look.result {
                return self.answer_from_cache(app, &result, look.epoch).await;
            }
        }
        self.answer_from_store(app).await
    }

    /// The caller's key and an earlier use of its idempotency key come before the cached result.
    async fn answer_from_cache(
        &self,
        app: &App,
        result: &CachedResult,
        epoch: Option<Epoch>,
    ) -> Result<Response, Problem> {
        let tenant = self.key.trusted_tenant(app, epoch).await?;
        let before = match &self.idempotency {
            Some(idempotency) => {
                app.store.answered(tenant, idempotency).await.map_err(|error| app.store_problem(error))?
            }
            None => None,
        };
        match before {
            Some(admission) => admitted(app, admission),
            None => {
                app.metrics.submission("cached");
                Ok(cached(result))
            }
        }
    }

    async fn answer_from_store(&self, app: &App) -> Result<Response, Problem> {
        let submit = SubmitRequest {
            key: self.key.hash,
            username: &self.username,
            force_refresh: self.force_refresh,
            idempotency: self.idempotency.as_ref(),
        };
        let epoch = app.identities.epoch();
        let admission = app.store.submit(&submit).await;
        if let Ok(Admission::Unauthenticated) = admission {
            return Err(self.key.refused(app));
        }
        self.key.passed(app);
        let admission = admission.map_err(|error| app.store_problem(error))?;
        if let Admission::Accepted { job, .. } | Admission::Replayed { job, .. } = &admission {
            app.identities.confirm(self.key.hash, job.tenant, epoch);
        }
        admitted(app, admission)
    }
}

/// As [`Cached`], around the result as it lies in the cache: it may be large, and nobody needs it taken apart.
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
            // The relay finds what this does not get out, so the answer need not wait for it.
            app.announce(effects);
            app.metrics.submission(if coalesced { "coalesced" } else { "accepted" });
            Ok(accepted(job, charged, balance))
        }
        Admission::Replayed { job, charged, balance } => {
            app.metrics.submission("replayed");
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

fn refused(admission: Admission) -> Problem {
    match admission {
        // Both are answers, not refusals; the caller has taken them out.
        Admission::Accepted { .. } | Admission::Replayed { .. } => Problem::internal(),
        Admission::Unauthenticated => unknown_key(),
        Admission::InsufficientCredits { balance, price } => Problem::new(
            ProblemType::InsufficientCredits,
            format!("An analysis costs {price} credits, and {balance} are left."),
        )
        .figure("balance", balance)
        .figure("price", price),
        Admission::ConcurrentLimit { limit, retry_after } => Problem::new(
            ProblemType::ConcurrentLimit,
            format!(
                "{limit} analyses are unfinished, as many as the tier allows at once; wait for one, or cancel one."
            ),
        )
        .figure("limit", limit)
        .retry_after(Duration::from_secs(retry_after)),
        Admission::DailyLimit { limit, resets_at } => Problem::new(
            ProblemType::DailyLimit,
            format!("{limit} analyses were accepted today, as many as the tier allows in a UTC day."),
        )
        .figure("limit", limit)
        .figure("resets_at", resets_at.to_rfc3339())
        .retry_after((resets_at - Utc::now()).to_std().unwrap_or(Duration::from_secs(1))),
        Admission::LaneFull { lane, retry_after } => {
            Problem::new(ProblemType::LaneFull, format!("The {lane} lane has no room; nothing was charged."))
                .figure("lane", lane.as_str())
                .retry_after(Duration::from_secs(retry_after))
        }
        Admission::IdempotencyConflict => Problem::new(
            ProblemType::IdempotencyConflict,
            "This Idempotency-Key belongs to a request with another body; use a new key for a new request.",
        ),
    }
}
