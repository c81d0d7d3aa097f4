//! The operator: controllers that turn an `AnalyticsPlatform` and its `WorkerPool`s into what runs.

pub mod api;
pub mod budget;
pub mod capacity;
mod cluster;
pub mod condition;
mod context;
mod external_metrics;
mod failures;
pub mod images;
mod leader;
pub mod leftovers;
mod metrics;
pub mod names;
mod ops;
pub mod platform;
pub mod preset;
pub mod preview;
mod quantity;
mod queues;
pub mod resources;
pub mod run;
mod wanted;
pub mod worker_pool;
