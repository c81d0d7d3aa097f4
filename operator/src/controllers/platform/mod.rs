//! The controller of `AnalyticsPlatform`: dereference -> validate -> plan -> apply -> status, a file for each step.

pub mod apply;
pub mod build;
pub mod credentials;
pub mod dereference;
pub mod generated_secrets;
pub mod observed;
pub mod plan;
pub mod reconcile;
pub mod status;
pub mod validate;
