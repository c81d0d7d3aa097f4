//! The controller of `AnalyticsPlatform`: dereference -> validate -> plan -> apply -> status, a file for each step.

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
