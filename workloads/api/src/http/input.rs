//! What callers send, checked before it means anything: bodies, query parameters and path segments.

use axum::{
    body::Bytes,
    extract::{
        DefaultBodyLimit, FromRequest, FromRequestParts, Request,
        rejection::{BytesRejection, FailedToBufferBody},
    },
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::http::problem::Problem;

/// The largest body that is read, in bytes.
pub const BODY_LIMIT: usize = 16 * 1024;

/// Things on a page, when the caller does not say, and at most.
const PAGE: u32 = 50;
const LONGEST_PAGE: u32 = 200;

/// How many things a page has.
pub fn page_limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(PAGE) {
        limit @ 1..=LONGEST_PAGE => Ok(limit),
        _ => Err(Problem::invalid("limit", format!("must be between 1 and {LONGEST_PAGE}"))),
    }
}

/// A JSON body. Anything else, an unknown member or a wrong type is `invalid-request` and says where.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(is_json) {
            return Err(Problem::invalid("Content-Type", "must be application/json"));
        }
        let bytes = read(request).await?;
        // Serde would take a list for a struct.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| *byte == b'[') {
            return Err(Problem::invalid("", "must be a JSON object"));
        }
        serde_json::from_slice(&bytes).map(Self).or_else(|_| parse_for_words(&bytes).map(Self))
    }
}

/// As parsing a document, slower, to say where it is wrong.
fn parse_for_words<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut document = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut document).map_err(|error| explain(&error))?;
    document.end().map_err(|_| Problem::invalid("", "goes on after the JSON document"))?;
    Ok(value)
}

/// `application/json` or `application/…+json`, whatever the parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn read(mut request: Request) -> Result<Bytes, Problem> {
    DefaultBodyLimit::max(BODY_LIMIT).apply(&mut request);
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::invalid("", format!("is larger than {BODY_LIMIT} bytes"))
        }
        _ => Problem::invalid("", "broke off before its end"),
    })
}

fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return Problem::invalid("", format!("is not JSON: {inner}"));
    }
    let reason = inner.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    // Serde names a missing or unknown member in its words only, not in the path.
    let named = reason.split('`').nth(1).filter(|_| reason.contains(" field `"));
    let path = error.path().to_string();
    match named {
        Some(field) if reason.starts_with("missing") => Problem::invalid(field, "is missing"),
        Some(field) => Problem::invalid(field, format!("is refused: {reason}")),
        None if path == "." => Problem::invalid("", format!("is refused: {reason}")),
        None => Problem::invalid(&path, format!("is refused: {reason}")),
    }
}

/// Query parameters; an unknown one or a wrong value is `invalid-request`.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::invalid("query string", format!("is refused: {}", rejection.body_text()))),
        }
    }
}

/// Path segments; a name that cannot exist is `not-found`.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status() == StatusCode::BAD_REQUEST => Err(Problem::not_found("thing")),
            Err(rejection) => {
                tracing::error!(error = rejection.body_text(), "a route and its handler disagree");
                Err(Problem::internal())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        response::IntoResponse,
    };
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it parses is looked at")]
    struct Sample {
        username: String,
        #[serde(default)]
        force: bool,
    }

    async fn parse(content_type: &str, body: impl Into<Body>) -> Result<Sample, serde_json::Value> {
        let request = Request::builder().header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap();
        match JsonBody::<Sample>::from_request(request, &()).await {
            Ok(JsonBody(sample)) => Ok(sample),
            Err(problem) => {
                let bytes = to_bytes(problem.into_response().into_body(), 1 << 20).await.unwrap();
                Err(serde_json::from_slice(&bytes).unwrap())
            }
        }
    }

    async fn wrong_field(content_type: &str, body: impl Into<Body>) -> String {
        let problem = parse(content_type, body).await.unwrap_err();
        assert_eq!(problem["code"], "invalid-request", "{problem}");
        problem["errors"][0]["field"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_refused_body_says_which_field() {
        assert_eq!(wrong_field("text/plain", r#"{"username":"a"}"#).await, "Content-Type");
        assert_eq!(wrong_field("application/json", "username=a").await, "");
        assert_eq!(wrong_field("application/json", "").await, "");
        assert_eq!(wrong_field("application/json", r#"["a",true]"#).await, "");
        assert_eq!(wrong_field("application/json", r#"{"force":true}"#).await, "username");
        assert_eq!(wrong_field("application/json", r#"{"username":7}"#).await, "username");
        assert_eq!(wrong_field("application/json", r#"{"username":"a","force":"yes"}"#).await, "force");
        assert_eq!(wrong_field("application/json", r#"{"username":"a","colour":1}"#).await, "colour");
        assert_eq!(wrong_field("application/json", r#"{"username":"a"} {}"#).await, "");
        assert_eq!(wrong_field("application/json", vec![b' '; BODY_LIMIT + 1]).await, "");
        assert_eq!(wrong_field("application/json", r#"{"username":"\ud800"}"#).await, "");
    }

    #[tokio::test]
    async fn parameters_of_the_content_type_do_not_matter() {
        assert!(parse("application/json; charset=utf-8", r#"{"username":"a"}"#).await.is_ok());
        assert!(parse("application/merge-patch+json", r#"{"username":"a"}"#).await.is_ok());
    }
}
