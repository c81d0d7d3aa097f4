//! Integration tests of the chaos harness.

mod checks;
