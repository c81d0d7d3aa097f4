//! The bearer key of a request (RFC 6750).

use axum::http::{HeaderMap, header};

use crate::http::problem::{Problem, ProblemType};

/// Characters that a key may have; issued keys have fewer.
const MAX_LENGTH: usize = 256;

/// The key in `Authorization: Bearer <key>`.
///
/// # Errors
/// `unauthenticated` if there is none.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthenticated("The request has no key. Send it as 'Authorization: Bearer <key>'."));
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .filter(|key| !key.is_empty() && key.len() <= MAX_LENGTH)
        .ok_or_else(|| unauthenticated("The header 'Authorization' must have the form 'Bearer <key>'."))
}

/// The refusal of a request without a valid key.
pub fn unauthenticated(detail: &str) -> Problem {
    Problem::new(ProblemType::Unauthenticated, detail)
}

/// The refusal of a key that does not exist or is revoked.
pub fn unknown_key() -> Problem {
    unauthenticated("The key does not exist or is revoked.")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key_in(value: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        bearer(&headers).ok().map(str::to_owned)
    }

    #[test]
    fn key_is_what_follows_bearer() {
        assert_eq!(key_in("Bearer sk_1").as_deref(), Some("sk_1"));
        assert_eq!(key_in("bearer  sk_1 ").as_deref(), Some("sk_1"));
        assert_eq!(key_in("Basic sk_1"), None);
        assert_eq!(key_in("Bearer"), None);
        assert_eq!(key_in("Bearer "), None);
        assert_eq!(key_in(&format!("Bearer {}", "x".repeat(257))), None);
    }
}
