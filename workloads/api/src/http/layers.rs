//! What every request passes, in one go: an id, a log line when something broke, a count, a place among the requests in flight, a deadline.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use switchyard_jobs::{
    resilience::deadline,
    store::failover,
    trace::{self, Span},
};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::{http::concurrency::Gate, http::metrics::HttpMetrics, http::problem::Problem};

/// Names one request in answers and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long the caller will wait, in seconds.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");
/// On answers that may be a little old, because a replica stood in for the database.
pub const STALE: HeaderName = HeaderName::from_static("x-stale");

/// The longest that one request may take to its answer's head; what a caller gets who asks for nothing less.
const LONGEST: Duration = Duration::from_secs(15);
/// Time to give a database connection up in good order before nobody waits any more; less of a short request.
const SLACK: Duration = Duration::from_millis(250);

/// What passing needs.
#[derive(Clone)]
pub struct Passage {
    pub gate: Arc<Gate>,
    pub metrics: HttpMetrics,
}

/// Gives each request an id (the caller's, when it is short and plain) and each answer the same, counts it, and ends it with its deadline or its panic.
pub async fn pass(State(passage): State<Passage>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request.headers().get(REQUEST_ID).filter(|value| is_plain(value)).cloned().unwrap_or_else(fresh_id);
    let parent = request.headers().get(trace::TRACEPARENT).and_then(|value| value.to_str().ok());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let template = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let mut work =
        Span::begin(trace::Kind::Server, parent.and_then(trace::Context::parse), format!("{method} {template}"));
    work.set("http.request.method", method.to_string());
    work.set("http.route", template.to_owned());
    let context = work.context();
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        trace = context.trace_id(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let answering = trace::scope(context, answer(&passage.gate, begun, request, next));
    let mut response = answering.instrument(span).await;
    let status = response.status();
    work.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        work.fail(status);
    }
    passage.metrics.answered(route, &method, status, begun.elapsed(), context.exemplar());
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

async fn answer(gate: &Gate, begun: Instant, request: Request, next: Next) -> Response {
    let limit = match time_limit(request.headers()) {
        Ok(limit) => limit,
        Err(problem) => return problem.into_response(),
    };
    // Given back with the answer's head: a stream of events has a place of another kind.
    let _place = match gate.enter(limit).await {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let end = begun + limit;
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    let work = deadline::scope(end - SLACK.min(limit / 10), failover::noticed(work));
    match timeout_at(end, work).await {
        Ok((Ok(response), false)) => response,
        Ok((Ok(response), true)) => by_replica(response),
        Ok((Err(panic), _)) => panicked(&*panic),
        Err(_) => {
            tracing::warn!(seconds = limit.as_secs_f64(), "a request ran into its deadline");
            Problem::unavailable("The answer took too long; nothing is known about its effect. Ask again.")
                .into_response()
        }
    }
}

/// The time that the caller gives the request; cut to the longest.
fn time_limit(headers: &HeaderMap) -> Result<Duration, Problem> {
    let Some(given) = headers.get(REQUEST_TIMEOUT) else { return Ok(LONGEST) };
    let seconds = given.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    match seconds {
        Some(seconds) if seconds > 0.0 => Ok(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)),
        _ => Err(Problem::invalid("Request-Timeout", "must be a number of seconds above 0")),
    }
}

/// A random UUID; from the thread's own generator, which costs no system call.
fn fresh_id() -> HeaderValue {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("a UUID is a header value")
}

fn is_plain(value: &HeaderValue) -> bool {
    value.len() <= 128 && !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Says that a replica stood in. What it does not have may still be on its way to it.
fn by_replica(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return Problem::unavailable(
            "The database is away, and what stands in for it does not have this, perhaps not yet. Try again.",
        )
        .into_response();
    }
    response.headers_mut().insert(STALE, HeaderValue::from_static("replica"));
    response
}

/// A panic's answer.
fn panicked(panic: &(dyn Any + Send)) -> Response {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words");
    tracing::error!(panic = words, "a handler panicked");
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::get};
    use prometheus_client::registry::Registry;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: Router, headers: &[(HeaderName, &str)]) -> Response {
        let passage = Passage {
            gate: Arc::new(Gate::new(1, Duration::ZERO)),
            metrics: HttpMetrics::register(&mut Registry::default()),
        };
        let router = router.layer(middleware::from_fn_with_state(passage, pass));
        let request =
            headers.iter().fold(Request::builder().uri("/"), |request, (name, value)| request.header(name, *value));
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem() {
        let router = Router::new().route("/", get(async || -> &'static str { panic!("the words of a bug") }));
        let response = ask(router, &[]).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("words of a bug"));
    }

    #[tokio::test]
    async fn a_request_that_takes_longer_than_its_caller_waits_is_ended() {
        let router = Router::new().route("/", get(async || std::future::pending::<()>().await));
        let response = ask(router, &[(REQUEST_TIMEOUT, "0.01")]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
    }

    #[tokio::test]
    async fn what_is_called_below_knows_a_deadline_before_the_callers() {
        let router = Router::new()
            .route("/", get(async || format!("{:?}", deadline::remaining().unwrap() < Duration::from_secs(5))));
        let response = ask(router, &[(REQUEST_TIMEOUT, "5")]).await;
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert_eq!(body, "true");
    }

    #[tokio::test]
    async fn an_answer_carries_the_callers_id_or_one_of_its_own() {
        let router = Router::new().route("/", get(async || ""));
        assert_eq!(ask(router.clone(), &[(REQUEST_ID, "call-7")]).await.headers()[REQUEST_ID], "call-7");
        for odd in ["", "a b", &"x".repeat(129)] {
            let response = ask(router.clone(), &[(REQUEST_ID, odd)]).await;
            let id = response.headers()[REQUEST_ID].to_str().unwrap();
            assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
        }
    }

    #[test]
    fn a_caller_may_wait_less_and_not_longer() {
        let limit = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            time_limit(&HeaderMap::from_iter([(REQUEST_TIMEOUT, value)]))
        };
        assert_eq!(limit("0.5").unwrap(), Duration::from_millis(500));
        for long in ["15", "60", "1e300", "inf"] {
            assert_eq!(limit(long).unwrap(), LONGEST, "{long}");
        }
        for wrong in ["0", "-1", "NaN", "", "5s"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
