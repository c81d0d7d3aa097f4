//! Every answer that is not a success: RFC 9457 problem documents with stable names.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What went wrong, as programs see it. The slug is the last segment of `type` and the member `code`; it never changes.
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

    /// The stable name.
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

    /// The same words at every occurrence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "A valid key is needed",
            Self::InsufficientCredits => "Not enough credits",
            Self::InvalidRequest => "The request is not valid",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "This method is not offered here",
            Self::IdempotencyConflict => "The idempotency key was used for another request",
            Self::NotFinished => "The job has not finished",
            Self::NoResult => "The job ended without a result",
            Self::AlreadyFinished => "The job has already finished",
            Self::NotDead => "The job is not among the dead",
            Self::ConcurrentLimit => "Too many analyses at once",
            Self::DailyLimit => "The day's analyses are used up",
            Self::LaneFull => "The lane is full",
            Self::RateLimited => "Too many requests",
            Self::Internal => "Something went wrong here",
            Self::Unavailable => "Not available right now",
        }
    }

    /// The HTTP status of the answer.
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

    /// Whether the answer says when to come back.
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

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// The member, query parameter or header that is wrong; empty for the body as a whole.
    #[schema(example = "username")]
    pub field: String,
    /// Why, and what would be right.
    #[schema(example = "is missing")]
    pub reason: String,
}

/// The document of RFC 9457, as sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Stable URI of the kind of problem; its last segment is `code`.
    #[schema(example = "https://switchyard.dev/problems/lane-full")]
    r#type: String,
    /// Stable name of the kind of problem.
    #[schema(example = "lane-full")]
    code: &'static str,
    /// The same words at every occurrence of this kind.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened this time, and what to do about it.
    detail: String,
    /// Seconds after which trying again makes sense; the same as the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// For `invalid-request`: what is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldProblem>,
    /// Figures that belong to the kind of problem, for instance `balance` and `price`.
    #[serde(flatten)]
    #[schema(ignore)]
    figures: Map<String, Value>,
}

/// A refusal or failure on its way to the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub kind: ProblemType,
    detail: String,
    retry_after: Option<Duration>,
    errors: Vec<FieldProblem>,
    figures: Map<String, Value>,
}

impl Problem {
    /// A problem; `detail` says what happened and what to do, and never holds a secret.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        let retry_after = kind.has_retry_after().then(|| Duration::from_secs(5));
        Self { kind, detail: detail.into(), retry_after, errors: Vec::new(), figures: Map::new() }
    }

    /// `field` is wrong for `reason`.
    pub fn invalid(field: &str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let detail = if field.is_empty() { format!("The body {reason}.") } else { format!("'{field}' {reason}.") };
        let mut problem = Self::new(ProblemType::InvalidRequest, detail);
        problem.errors.push(FieldProblem { field: field.to_owned(), reason });
        problem
    }

    /// There is no `what` that the caller may see.
    pub fn not_found(what: &str) -> Self {
        Self::new(ProblemType::NotFound, format!("There is no such {what}, or it is not yours."))
    }

    /// A bug or an outage that the caller can do nothing about; the log says what it was.
    pub fn internal() -> Self {
        Self::new(ProblemType::Internal, "The failure is in the log under this answer's X-Request-Id.")
    }

    /// Something that the API needs is away.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Unavailable, detail)
    }

    /// When to come back; rounded up to whole seconds, at least one.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a figure that programs may use.
    pub fn figure(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }

    /// The document as sent.
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
            figures: self.figures,
        }
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| (after.as_millis().div_ceil(1000) as u64).max(1))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (kind, retry_after) = (self.kind, self.retry_after_seconds());
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
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_type_is_listed_once_under_a_name_of_its_own() {
        let slugs: HashSet<_> = ProblemType::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemType::ALL.len());
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_zero() {
        let wait = |ms| {
            let problem = Problem::new(ProblemType::LaneFull, "").retry_after(Duration::from_millis(ms));
            problem.into_response().headers()[header::RETRY_AFTER].to_str().unwrap().to_owned()
        };
        assert_eq!(wait(0), "1");
        assert_eq!(wait(1001), "2");
    }

    #[test]
    fn a_wrong_field_is_named() {
        let document = serde_json::to_value(Problem::invalid("username", "is missing").document()).unwrap();
        assert_eq!(document["type"], "https://switchyard.dev/problems/invalid-request");
        assert_eq!(document["code"], "invalid-request");
        assert_eq!(document["status"], 422);
        assert_eq!(document["errors"][0]["field"], "username");
    }
}
