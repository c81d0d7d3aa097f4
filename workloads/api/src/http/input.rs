//! Extractors of bodies, query parameters and path segments, whose rejections are problems.

use axum::{
    body::Bytes,
    extract::{
        DefaultBodyLimit, FromRequest, FromRequestParts, Request,
        rejection::{BytesRejection, FailedToBufferBody},
    },
    http::{HeaderName, StatusCode, header, request::Parts},
};
use mediatype::{
    MediaType,
    names::{APPLICATION, JSON},
};
use serde::de::DeserializeOwned;

use crate::http::problem::Problem;

/// The largest request body, in bytes.
pub const BODY_LIMIT: usize = 16 * 1024;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Items on a page by default.
const DEFAULT_PAGE_SIZE: u32 = 50;
/// Items on a page at most.
const MAX_PAGE_SIZE: u32 = 200;

/// The size of a page, of which `asked` is the caller's.
///
/// # Errors
/// `invalid-request` unless it is between 1 and 200.
pub fn page_limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(DEFAULT_PAGE_SIZE) {
        limit @ 1..=MAX_PAGE_SIZE => Ok(limit),
        _ => Err(Problem::invalid("limit", format!("must be between 1 and {MAX_PAGE_SIZE}"))),
    }
}

/// The header `Idempotency-Key`, if there is one: 1 to 255 visible ASCII characters.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(key) = given.next() else { return Ok(Self(None)) };
        let valid = (1..=255).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
        match key.to_str() {
            Ok(key) if valid && given.next().is_none() => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::invalid("Idempotency-Key", "must be one value of 1 to 255 visible ASCII characters")),
        }
    }
}

/// A JSON body. Another content type, an unknown member or a wrong type is `invalid-request` and
/// names the field.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(is_json) {
            return Err(Problem::invalid("Content-Type", "must be application/json"));
        }
        let bytes = read(request).await?;
        // Serde accepts a sequence for a struct.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| *byte == b'[') {
            return Err(Problem::invalid("", "must be a JSON object"));
        }
        serde_json::from_slice(&bytes).map(Self).or_else(|_| parse_with_path(&bytes).map(Self))
    }
}

/// Parses the body again, more slowly, to name the invalid field.
fn parse_with_path<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut document = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut document).map_err(|error| explain(&error))?;
    document.end().map_err(|_| Problem::invalid("", "has characters after the JSON value"))?;
    Ok(value)
}

/// Whether it is `application/json` or `application/…+json`, with any parameters.
fn is_json(content_type: &str) -> bool {
    MediaType::parse(content_type.trim()).is_ok_and(|media_type| {
        media_type.ty == APPLICATION && (media_type.subty == JSON || media_type.suffix == Some(JSON))
    })
}

async fn read(mut request: Request) -> Result<Bytes, Problem> {
    DefaultBodyLimit::max(BODY_LIMIT).apply(&mut request);
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::invalid("", format!("is larger than {BODY_LIMIT} bytes"))
        }
        _ => Problem::invalid("", "ended before its announced length"),
    })
}

fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return Problem::invalid("", format!("is not JSON: {inner}"));
    }
    let reason = inner.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    // Serde names a missing or unknown member only in its message, not in the path.
    let named = reason.split('`').nth(1).filter(|_| reason.contains(" field `"));
    let path = error.path().to_string();
    match named {
        Some(field) if reason.starts_with("missing") => Problem::invalid(field, "is missing"),
        Some(field) => Problem::invalid(field, format!("is invalid: {reason}")),
        None if path == "." => Problem::invalid("", format!("is invalid: {reason}")),
        None => Problem::invalid(&path, format!("is invalid: {reason}")),
    }
}

/// Query parameters. An unknown one or an invalid value is `invalid-request`.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::invalid("query string", format!("is invalid: {}", rejection.body_text()))),
        }
    }
}

/// Path segments. One that cannot be parsed is `not-found`.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status() == StatusCode::BAD_REQUEST => Err(Problem::not_found("resource")),
            Err(rejection) => {
                tracing::error!(error = rejection.body_text(), "route and handler have different path parameters");
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
    #[expect(dead_code, reason = "only whether it parses is tested")]
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
    async fn invalid_body_names_the_field() {
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
    async fn content_type_may_have_parameters() {
        assert!(parse("application/json; charset=utf-8", r#"{"username":"a"}"#).await.is_ok());
        assert!(parse("application/merge-patch+json", r#"{"username":"a"}"#).await.is_ok());
    }
}
