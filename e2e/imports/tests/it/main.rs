//! No crate of the workspace has a circle of imports, and the check finds one where there is one.

mod finds;
mod workspace;
