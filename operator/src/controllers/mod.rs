//! The controllers of `AnalyticsPlatform` and `WorkerPool`, their shared parts, and recovery.

pub mod apply;
pub mod backoff;
pub mod condition;
pub mod context;
pub mod controller;
pub mod health;
pub mod platform;
pub mod reconciler;
pub(crate) mod recovery;
pub(crate) mod state_metrics;
pub mod status;
pub mod worker_pool;
