//! Which profile names are taken on.

use crate::http::problem::Problem;

/// Characters that a profile name may have.
pub const MAX_LENGTH: usize = 64;

/// The name without a leading `@`; refused when it could not be a profile's name.
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
        return refuse("may hold only letters, digits, '.', '_' and '-'");
    }
    // Dots alone would be a path segment of another meaning wherever the name becomes part of a URL or an object's key.
    if name.bytes().all(|byte| byte == b'.') {
        return refuse("must hold more than dots");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_without_their_at_sign() {
        assert_eq!(parse("@Ada.Love_lace-1").unwrap(), "Ada.Love_lace-1");
        assert_eq!(parse(&"x".repeat(64)).unwrap().len(), 64);
    }

    #[test]
    fn names_that_cannot_be_profiles_are_refused() {
        for name in ["", "@", "@@a", " ", "a ", "..", "a b", "a/b", "ü", "a\0", "a\n", "%2e", &"x".repeat(65)] {
            assert!(parse(name).is_err(), "{name:?} was taken");
        }
    }
}
