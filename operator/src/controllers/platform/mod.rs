//! The controller of `AnalyticsPlatform`: dereference -> validate -> plan -> apply -> status.
//!
//! `reconcile` calls the steps in this order; each has a module of its own. `plan` uses the pure
//! builders in `build`.

pub mod apply;
pub mod build;
mod conditions;
pub mod credentials;
pub mod dereference;
pub mod generated_secrets;
mod grants;
pub mod input;
pub mod observed;
pub mod plan;
pub mod reconcile;
pub mod status;
pub mod validate;
