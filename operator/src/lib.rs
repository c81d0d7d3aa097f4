//! The operator: controllers that turn an `AnalyticsPlatform` and its `WorkerPool`s into what runs.
//!
//! Every import points downwards:
//!
//! ```text
//! main, run
//! preview                                what a spec would become, before anything does
//! controllers                            platform, worker_pool, recovery
//!     dereference -> validate -> plan -> apply -> status
//! autoscaling                            how many pods a pool should have, for KEDA and the HPA
//! kubernetes                             client, applier, watch cache, leader election, write fence
//! resources                              builders of Kubernetes objects, pure
//! capacity                               from queues to pods, pure
//! spec                                   settings, defaults, connection budget, names, pure
//! crd                telemetry           custom resources; metrics and their HTTP server
//! ```

pub mod autoscaling;
pub mod capacity;
pub mod controllers;
pub mod crd;
pub mod kubernetes;
pub mod preview;
pub mod resources;
pub mod run;
pub mod spec;
pub mod telemetry;
