//! No crate of the workspace has a circle of imports, and the check finds one where there is one.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod finds;
mod workspace;
