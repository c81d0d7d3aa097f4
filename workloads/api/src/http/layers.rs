//! The layers that every request passes, from the outside in:
//!
//! 1. request id: the caller's, or a random one; the response has the same;
//! 2. [`record`]: a span, a trace, the metrics, and `Retry-After` while the database is away;
//! 3. panics become problems;
//! 4. [`limit`]: a permit among the requests in flight, a deadline, and the mark of answers from a
//!    replica.
//!
//! The request id and the panics are tower-http's. Its `TimeoutLayer` knows one time for all
//! requests and answers with an empty 408, so the deadline, which the caller may shorten, is set
//! here.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use switchyard_jobs::{
    resilience::{Breaker, deadline},
    store::failover,
    trace::{self, Span},
};
use tokio::time::{Instant, timeout_at};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
};
use tracing::Instrument;

use crate::http::{
    concurrency::ConcurrencyLimiter,
    metrics::HttpMetrics,
    problem::{DatabaseProblem, Problem},
    request_id::{self, REQUEST_ID, RandomRequestId},
};

/// The time that the caller gives the request, in seconds.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");
/// On responses that a replica answered, which may be a little old.
pub const STALE: HeaderName = HeaderName::from_static("x-stale");

/// The longest time from a request to the head of its response, and the default of
/// [`REQUEST_TIMEOUT`].
const MAX_TIMEOUT: Duration = Duration::from_secs(15);
/// Time between the deadline of the calls below and that of the request, for returning connections
/// in order. At most a tenth of the request's time.
const DEADLINE_MARGIN: Duration = Duration::from_millis(250);

/// What the layers need of the process.
#[derive(Clone)]
pub struct RequestContext {
    /// Limits the requests in flight.
    pub limiter: Arc<ConcurrencyLimiter>,
    /// The circuit breaker of the database, which knows when a retry makes sense.
    pub database: Breaker,
    pub metrics: HttpMetrics,
}

/// Puts the layers around every route of `routes`.
pub fn add<S: Clone + Send + Sync + 'static>(routes: Router<S>, context: RequestContext) -> Router<S> {
    routes.layer(
        ServiceBuilder::new()
            .map_request(request_id::discard_invalid)
            .layer(SetRequestIdLayer::new(REQUEST_ID, RandomRequestId))
            .layer(PropagateRequestIdLayer::new(REQUEST_ID))
            .layer(middleware::from_fn_with_state(context.clone(), record))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn_with_state(context, limit)),
    )
}

/// Traces and counts a request, and sets the `Retry-After` of a response that waits for the
/// database.
async fn record(State(context): State<RequestContext>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let parent = request.headers().get(trace::TRACEPARENT).and_then(|value| value.to_str().ok());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let template = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let mut work =
        Span::begin(trace::Kind::Server, parent.and_then(trace::Context::parse), format!("{method} {template}"));
    work.set("http.request.method", method.to_string());
    work.set("http.route", template.to_owned());
    let traced = work.context();
    let span = tracing::info_span!(
        "request",
        id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default(),
        trace = traced.trace_id(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let mut response = trace::scope(traced, next.run(request)).instrument(span).await;
    let status = response.status();
    work.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        work.fail(status);
    }
    context.metrics.answered(route, &method, status, begun.elapsed(), traced.exemplar());
    if let Some(DatabaseProblem(problem)) = response.extensions_mut().remove()
        && let Some(wait) = context.database.retry_after()
    {
        // The headers of the inner layers stay.
        let inner = std::mem::replace(&mut response, problem.retry_after(wait).into_response());
        for (name, value) in inner.headers() {
            if !response.headers().contains_key(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
    }
    response
}

/// Runs a request with a permit and until its deadline, and marks the response of a replica.
async fn limit(State(context): State<RequestContext>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let timeout = match timeout(request.headers()) {
        Ok(timeout) => timeout,
        Err(problem) => return problem.into_response(),
    };
    // Released with the head of the response: event streams have permits of their own.
    let _permit = match context.limiter.acquire(timeout).await {
        Ok(permit) => permit,
        Err(problem) => return problem.into_response(),
    };
    let end = begun + timeout;
    let work = deadline::scope(end - DEADLINE_MARGIN.min(timeout / 10), failover::track_stale_reads(next.run(request)));
    match timeout_at(end, work).await {
        Ok((response, false)) => response,
        Ok((response, true)) => from_replica(response),
        Err(_) => {
            tracing::warn!(seconds = timeout.as_secs_f64(), "request timed out");
            Problem::unavailable("The request timed out. It may have taken effect; try again.").into_response()
        }
    }
}

/// The time that the caller gives the request, at most [`MAX_TIMEOUT`].
fn timeout(headers: &HeaderMap) -> Result<Duration, Problem> {
    let Some(given) = headers.get(REQUEST_TIMEOUT) else { return Ok(MAX_TIMEOUT) };
    let seconds = given.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    match seconds {
        Some(seconds) if seconds > 0.0 => {
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_TIMEOUT).min(MAX_TIMEOUT))
        }
        _ => Err(Problem::invalid("Request-Timeout", "must be a number of seconds above 0")),
    }
}

/// Marks the response of a replica. A 404 becomes a 503, because the replica may lag behind.
fn from_replica(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return Problem::unavailable(
            "The database is unavailable, and its replica does not have the resource, perhaps not yet. Try again.",
        )
        .into_response();
    }
    response.headers_mut().insert(STALE, HeaderValue::from_static("replica"));
    response
}

/// Logs the panic of a handler. The response does not hold its message.
#[expect(clippy::needless_pass_by_value, reason = "the signature that tower-http requires")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = message, "handler panicked");
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use prometheus_client::registry::Registry;
    use switchyard_jobs::{resilience::Policy, store::StoreError};
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: Router, headers: &[(HeaderName, &str)]) -> Response {
        ask_with(Breaker::new("database", Policy::DATABASE), router, headers).await
    }

    async fn ask_with(database: Breaker, router: Router, headers: &[(HeaderName, &str)]) -> Response {
        let limiter = Arc::new(ConcurrencyLimiter::new(1, Duration::ZERO));
        let metrics = HttpMetrics::register(&mut Registry::default());
        let router = add(router, RequestContext { limiter, database, metrics });
        let request =
            headers.iter().fold(Request::builder().uri("/"), |request, (name, value)| request.header(name, *value));
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn panic_answers_500() {
        let router = Router::new().route("/", get(async || -> &'static str { panic!("the message of a bug") }));
        let response = ask(router, &[]).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("message of a bug"));
    }

    #[tokio::test]
    async fn request_past_its_deadline_answers_503() {
        let router = Router::new().route("/", get(async || std::future::pending::<()>().await));
        let response = ask(router, &[(REQUEST_TIMEOUT, "0.01")]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
    }

    #[tokio::test]
    async fn handlers_have_a_deadline_before_the_callers() {
        let router = Router::new()
            .route("/", get(async || format!("{:?}", deadline::remaining().unwrap() < Duration::from_secs(5))));
        let response = ask(router, &[(REQUEST_TIMEOUT, "5")]).await;
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert_eq!(body, "true");
    }

    #[tokio::test]
    async fn response_has_the_callers_request_id_or_a_random_one() {
        let router = Router::new().route("/", get(async || ""));
        assert_eq!(ask(router.clone(), &[(REQUEST_ID, "call-7")]).await.headers()[REQUEST_ID], "call-7");
        for odd in ["", "a b", &"x".repeat(129)] {
            let response = ask(router.clone(), &[(REQUEST_ID, odd)]).await;
            let id = response.headers()[REQUEST_ID].to_str().unwrap();
            assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
        }
    }

    #[tokio::test]
    async fn retry_after_is_when_the_breaker_of_the_database_lets_calls_through() {
        let failing = || Router::new().route("/", get(async || Problem::from(StoreError::Unavailable("away".into()))));
        let database = Breaker::new("database", Policy::DATABASE);
        let wait = async |database: &Breaker| {
            let response = ask_with(database.clone(), failing(), &[]).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let header = response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["retry_after_seconds"], header);
            header
        };
        assert_eq!(wait(&database).await, 2);
        for _ in 0..3 {
            let _ = database.call(async { Err::<(), _>(()) }, |()| true).await;
        }
        assert!((25..=30).contains(&wait(&database).await));
    }

    #[test]
    fn request_timeout_is_at_most_fifteen_seconds() {
        let limit = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            timeout(&HeaderMap::from_iter([(REQUEST_TIMEOUT, value)]))
        };
        assert_eq!(limit("0.5").unwrap(), Duration::from_millis(500));
        for long in ["15", "60", "1e300", "inf"] {
            assert_eq!(limit(long).unwrap(), MAX_TIMEOUT, "{long}");
        }
        for wrong in ["0", "-1", "NaN", "", "5s"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
