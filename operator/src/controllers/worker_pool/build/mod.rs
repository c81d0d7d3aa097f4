//! Builders of the objects of a pool. Pure.

pub mod gpu;
pub mod objects;
pub mod pod_template;
pub mod worker_config;
