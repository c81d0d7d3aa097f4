//! Validation of usernames.

use crate::http::problem::Problem;

/// Characters that a username may have.
pub const MAX_LENGTH: usize = 64;

/// The username without a leading `@`.
///
/// # Errors
/// `invalid-request` if it is empty, too long, or has other characters than ASCII letters, digits,
/// `.`, `_` and `-`.
pub fn parse(given: &str) -> Result<String, Problem> {
    let name = given.strip_prefix('@').unwrap_or(given);
    let refuse = |reason: &str| Err(Problem::invalid("username", reason));
    if name.is_empty() {
        return refuse("must not be empty");
    }
    if name.chars().count() > MAX_LENGTH {
        return refuse("is longer than 64 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return refuse("may have only letters, digits, '.', '_' and '-'");
    }
    // Dots alone would be a relative path segment in a URL or an object's key.
    if name.bytes().all(|byte| byte == b'.') {
        return refuse("must not be only dots");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_at_sign_is_dropped() {
        assert_eq!(parse("@Ada.Love_lace-1").unwrap(), "Ada.Love_lace-1");
        assert_eq!(parse(&"x".repeat(64)).unwrap().len(), 64);
    }

    #[test]
    fn invalid_usernames_are_refused() {
        for name in ["", "@", "@@a", " ", "a ", "..", "a b", "a/b", "ü", "a\0", "a\n", "%2e", &"x".repeat(65)] {
            assert!(parse(name).is_err(), "{name:?} was accepted");
        }
    }
}
