//! Problem details (RFC 9457): the body of every response that is not a success.
//!
//! `type`, `code` and the status of a problem type are stable. Titles and details are for people
//! and may change.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use switchyard_jobs::store::StoreError;
use utoipa::ToSchema;

/// `Retry-After` of a problem type that has one and names no other time.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);
/// `Retry-After` while the database fails and its circuit breaker is closed.
const DATABASE_RETRY_AFTER: Duration = Duration::from_secs(2);
/// `Retry-After` when the database has more calls than it can answer in time.
const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The kind of a problem. Its slug is the last segment of `type` and the member `code`; it never
/// changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemType {
    Unauthenticated,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    MethodNotAllowed,
    IdempotencyConflict,
    NotFinished,
    NoResult,
    AlreadyFinished,
    NotDead,
    ConcurrentLimit,
    DailyLimit,
    LaneFull,
    RateLimited,
    Internal,
    Unavailable,
}

impl ProblemType {
    /// Every type, in the order of the HTTP status.
    pub const ALL: &'static [Self] = &[
        Self::Unauthenticated,
        Self::InsufficientCredits,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::IdempotencyConflict,
        Self::NotFinished,
        Self::NoResult,
        Self::AlreadyFinished,
        Self::NotDead,
        Self::InvalidRequest,
        Self::ConcurrentLimit,
        Self::DailyLimit,
        Self::LaneFull,
        Self::RateLimited,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The stable name for programs.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::InsufficientCredits => "insufficient-credits",
            Self::InvalidRequest => "invalid-request",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::IdempotencyConflict => "idempotency-conflict",
            Self::NotFinished => "not-finished",
            Self::NoResult => "no-result",
            Self::AlreadyFinished => "already-finished",
            Self::NotDead => "not-dead",
            Self::ConcurrentLimit => "concurrent-limit",
            Self::DailyLimit => "daily-limit",
            Self::LaneFull => "lane-full",
            Self::RateLimited => "rate-limited",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The title: the phrase of the HTTP status, or a noun phrase. The same at every occurrence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "Unauthorized",
            Self::InsufficientCredits => "Insufficient credits",
            Self::InvalidRequest => "Invalid request",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::IdempotencyConflict => "Idempotency key conflict",
            Self::NotFinished => "Job not finished",
            Self::NoResult => "Job without a result",
            Self::AlreadyFinished => "Job already finished",
            Self::NotDead => "Job not dead",
            Self::ConcurrentLimit => "Concurrency limit reached",
            Self::DailyLimit => "Daily limit reached",
            Self::LaneFull => "Lane full",
            Self::RateLimited => "Too many requests",
            Self::Internal => "Internal server error",
            Self::Unavailable => "Service unavailable",
        }
    }

    /// The HTTP status of the response.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::InsufficientCredits => StatusCode::PAYMENT_REQUIRED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::IdempotencyConflict | Self::NotFinished | Self::NoResult | Self::AlreadyFinished | Self::NotDead => {
                StatusCode::CONFLICT
            }
            Self::InvalidRequest => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ConcurrentLimit | Self::DailyLimit | Self::LaneFull | Self::RateLimited => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the response has the header `Retry-After`.
    pub const fn has_retry_after(self) -> bool {
        matches!(
            self,
            Self::ConcurrentLimit | Self::DailyLimit | Self::LaneFull | Self::RateLimited | Self::Unavailable
        )
    }

    /// The stable URI.
    pub fn uri(self) -> String {
        format!("https://switchyard.dev/problems/{}", self.slug())
    }
}

/// One invalid part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// The invalid member, query parameter or header; empty for the body as a whole.
    #[schema(example = "username")]
    pub field: String,
    /// Why it is invalid, or what a valid value is.
    #[schema(example = "is missing")]
    pub reason: String,
}

/// The problem details of RFC 9457, as sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Stable URI of the problem type; its last segment is `code`.
    #[schema(example = "https://switchyard.dev/problems/lane-full")]
    r#type: String,
    /// Stable name of the problem type.
    #[schema(example = "lane-full")]
    code: &'static str,
    /// Summary of the problem type; the same at every occurrence.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened in this request, and what to do about it.
    detail: String,
    /// Seconds after which a retry makes sense; the same as the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// The invalid fields; only for `invalid-request`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldProblem>,
    /// Extension members of the problem type, for instance `balance` and `price`.
    #[serde(flatten)]
    #[schema(ignore)]
    extensions: Map<String, Value>,
}

/// A refusal or failure on its way to the caller.
///
/// A [`StoreError`] becomes a problem by `?`. The layers set its `Retry-After` to the time at which
/// the circuit breaker of the database lets calls through again.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub kind: ProblemType,
    detail: String,
    retry_after: Option<Duration>,
    /// Whether the database decides when a retry makes sense.
    until_database: bool,
    errors: Vec<FieldProblem>,
    extensions: Map<String, Value>,
}

/// Extension of a response whose problem lasts until the database is back.
#[derive(Debug, Clone)]
pub struct DatabaseProblem(pub Problem);

impl Problem {
    /// Makes a problem. `detail` says what happened and what to do; it never holds a secret.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        let retry_after = kind.has_retry_after().then_some(DEFAULT_RETRY_AFTER);
        let (errors, extensions) = (Vec::new(), Map::new());
        Self { kind, detail: detail.into(), retry_after, until_database: false, errors, extensions }
    }

    /// `invalid-request`: `field` is invalid for `reason`. An empty `field` is the body as a whole.
    pub fn invalid(field: &str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let detail = if field.is_empty() { format!("The body {reason}.") } else { format!("'{field}' {reason}.") };
        let mut problem = Self::new(ProblemType::InvalidRequest, detail);
        problem.errors.push(FieldProblem { field: field.to_owned(), reason });
        problem
    }

    /// `not-found`: no `what` exists that the caller may see.
    pub fn not_found(what: &str) -> Self {
        Self::new(ProblemType::NotFound, format!("The {what} does not exist, or it belongs to another tenant."))
    }

    /// `internal`: a failure that the caller can do nothing about. The log has its cause.
    pub fn internal() -> Self {
        Self::new(
            ProblemType::Internal,
            "The request failed. The server log has the cause under the X-Request-Id of this response.",
        )
    }

    /// `unavailable`: a service that the API needs does not respond, or the API is overloaded.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Unavailable, detail)
    }

    /// Sets `Retry-After`, which is rounded up to whole seconds and at least one.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self.until_database = false;
        self
    }

    /// Sets `Retry-After` to the time at which the database is tried again.
    fn retry_after_database(self) -> Self {
        Self { until_database: true, ..self.retry_after(DATABASE_RETRY_AFTER) }
    }

    /// Adds an extension member, which programs may read.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// The problem details as sent.
    pub fn document(self) -> ProblemDocument {
        let retry_after_seconds = self.retry_after_seconds();
        ProblemDocument {
            r#type: self.kind.uri(),
            code: self.kind.slug(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: self.detail,
            retry_after_seconds,
            errors: self.errors,
            extensions: self.extensions,
        }
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1))
    }
}

impl From<StoreError> for Problem {
    /// Logs the error, which the caller does not see.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::RolledBack(_) => {
                tracing::warn!(%error, "could not use the database");
                Self::unavailable("The database is unavailable or busy. The request had no effect; try again.")
                    .retry_after_database()
            }
            StoreError::Unwritable(_) => {
                tracing::error!(%error, "could not write to the database");
                Self::unavailable("The database is read-only. The request had no effect; try again.")
                    .retry_after_database()
            }
            StoreError::Overloaded => {
                tracing::warn!(%error, "rejected a call: the database is overloaded");
                Self::unavailable("The database is overloaded. The request had no effect; try again.")
                    .retry_after(OVERLOAD_RETRY_AFTER)
            }
            StoreError::Interrupted(_) => {
                tracing::warn!(%error, "lost the database connection during a call");
                Self::unavailable(
                    "The connection to the database broke. The request may have taken effect; \
                     try again, with the same Idempotency-Key if it had one.",
                )
                .retry_after_database()
            }
            StoreError::Refused { .. } | StoreError::Unexpected(_) => {
                tracing::error!(%error, "received an unexpected response from the database");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (kind, retry_after) = (self.kind, self.retry_after_seconds());
        let until_database = self.until_database.then(|| DatabaseProblem(self.clone()));
        let mut response = (kind.status(), Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if kind == ProblemType::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"switchyard\""));
        }
        if let Some(problem) = until_database {
            response.extensions_mut().insert(problem);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_problem_type_has_a_unique_slug() {
        let slugs: HashSet<_> = ProblemType::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemType::ALL.len());
    }

    #[test]
    fn retry_after_is_rounded_up_to_at_least_one_second() {
        let wait = |ms| {
            let problem = Problem::new(ProblemType::LaneFull, "").retry_after(Duration::from_millis(ms));
            problem.into_response().headers()[header::RETRY_AFTER].to_str().unwrap().to_owned()
        };
        assert_eq!(wait(0), "1");
        assert_eq!(wait(1001), "2");
    }

    #[test]
    fn invalid_request_names_the_field() {
        let document = serde_json::to_value(Problem::invalid("username", "is missing").document()).unwrap();
        assert_eq!(document["type"], "https://switchyard.dev/problems/invalid-request");
        assert_eq!(document["code"], "invalid-request");
        assert_eq!(document["status"], 422);
        assert_eq!(document["errors"][0]["field"], "username");
    }
}
