//! Integration tests of the chaos harness.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a panic fails the test")]

mod checks;
