//! What every request passes: an id, a deadline, a log line when something broke.

use std::{any::Any, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use uuid::Uuid;

use crate::problem::Problem;

/// Names one request in answers and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives each request an id (the caller's, when it is short and plain) and each answer the same.
pub async fn identify(request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).filter(|value| is_plain(value)).cloned();
    let id =
        given.unwrap_or_else(|| HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("a UUID is a header value"));
    let text = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", id = text, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_plain(value: &HeaderValue) -> bool {
    value.len() <= 128 && !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Ends a request that takes too long. Streams count only until their first byte.
pub async fn deadline(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::warn!(seconds = limit.as_secs(), "a request ran into its deadline");
            Problem::unavailable("The answer took too long; nothing is known about its effect. Ask again.")
                .into_response()
        }
    }
}

/// A panic's answer.
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
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
    use axum::{Router, body::Body, http::StatusCode, middleware, routing::get};
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn ask(router: Router, id: &str) -> Response {
        let request = Request::builder().uri("/").header(REQUEST_ID, id).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem() {
        let router = Router::new()
            .route("/", get(async || -> &'static str { panic!("the words of a bug") }))
            .layer(CatchPanicLayer::custom(panicked));
        let response = ask(router, "1").await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("words of a bug"));
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_ended() {
        let router = Router::new()
            .route("/", get(async || std::future::pending::<()>().await))
            .layer(middleware::from_fn_with_state(Duration::from_millis(10), deadline));
        assert_eq!(ask(router, "1").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn an_answer_carries_the_callers_id_or_one_of_its_own() {
        let router = Router::new().route("/", get(async || "")).layer(middleware::from_fn(identify));
        assert_eq!(ask(router.clone(), "call-7").await.headers()[REQUEST_ID], "call-7");
        for odd in ["", "a b", &"x".repeat(129)] {
            let response = ask(router.clone(), odd).await;
            let id = response.headers()[REQUEST_ID].to_str().unwrap();
            assert!(Uuid::parse_str(id).is_ok(), "{id}");
        }
    }
}
