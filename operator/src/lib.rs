//! The operator: controllers that turn an `AnalyticsPlatform` and its `WorkerPool`s into what runs.

pub mod api;
pub mod budget;
pub mod capacity;
pub mod client;
pub mod cluster;
pub mod condition;
pub mod context;
pub mod copies;
mod external_metrics;
mod failures;
pub mod fence;
mod fresh;
pub mod images;
pub mod leader;
pub mod leftovers;
pub mod metrics;
pub mod names;
pub mod ops;
pub mod platform;
pub mod preset;
pub mod preview;
mod quantity;
pub mod queues;
pub mod resources;
pub mod run;
mod wanted;
pub mod worker_pool;
