//! The controller of `WorkerPool`: the same steps as the platform's.

pub mod controller;
pub mod dereference;
pub mod plan;
pub mod provider;
pub mod status;
