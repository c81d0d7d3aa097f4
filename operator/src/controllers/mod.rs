//! The controllers of both custom resources, and what they share.

pub mod backoff;
pub mod condition;
pub mod context;
pub mod health;
pub mod platform;
pub(crate) mod recovery;
pub(crate) mod state_metrics;
pub mod worker_pool;
