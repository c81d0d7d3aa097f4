//! The controller of `WorkerPool`: the same steps as the platform's.

pub mod apply;
pub mod dereference;
pub mod execution_provider;
mod gpu_capacity;
pub mod input;
pub mod plan;
pub mod reconcile;
pub mod scaling;
pub mod status;
pub mod validate;
