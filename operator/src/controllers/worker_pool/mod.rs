//! The controller of `WorkerPool`: dereference -> validate -> plan -> apply -> status.
//!
//! `reconcile` calls the steps in this order; each has a module of its own. `plan` uses the pure
//! builders in `build`, and the platform's builders and validation for what both share.

pub mod apply;
pub mod build;
pub mod dereference;
pub mod execution_provider;
mod gpu_capacity;
pub mod input;
pub mod plan;
pub mod reconcile;
pub mod scaling;
pub mod status;
pub mod validate;
