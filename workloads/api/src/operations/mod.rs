//! The platform as operators see it: a snapshot of its queues and workers, a health score, and
//! metrics.

pub mod health;
pub mod platform_metrics;
pub mod platform_snapshot;
pub mod routes;
