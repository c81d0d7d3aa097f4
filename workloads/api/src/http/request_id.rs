//! The request id: it names one request in its response and in the log.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
};
use tower_http::request_id::{MakeRequestId, RequestId};

/// The header of the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters that a caller's request id may have.
const MAX_LENGTH: usize = 128;

/// Removes a request id of the caller that is too long or has other than visible ASCII characters.
///
/// tower-http keeps every id that a request brings, so that unsuitable ones are removed before it.
pub fn discard_invalid(mut request: Request) -> Request {
    if request.headers().get(REQUEST_ID).is_some_and(|id| !is_valid(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

fn is_valid(id: &HeaderValue) -> bool {
    (1..=MAX_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Makes random UUIDs, from the thread's own generator, which costs no system call.
#[derive(Clone, Copy)]
pub struct RandomRequestId;

impl MakeRequestId for RandomRequestId {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        Some(RequestId::new(HeaderValue::from_str(text).expect("a UUID is a header value")))
    }
}
