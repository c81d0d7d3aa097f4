//! The operator: controllers that turn an `AnalyticsPlatform` and its `WorkerPool`s into what runs.

pub mod api;
pub mod budget;
mod cluster;
pub mod condition;
mod context;
mod failures;
pub mod images;
mod leader;
pub mod leftovers;
mod metrics;
pub mod names;
mod ops;
pub mod platform;
pub mod preset;
pub mod resources;
pub mod run;
pub mod worker_pool;
