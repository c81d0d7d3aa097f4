//! The controller of `WorkerPool`: the same steps as the platform's.

pub mod controller;
pub mod dereference;
mod gpu_room;
pub mod plan;
pub mod provider;
pub mod scaling;
pub mod status;
