//! The operator: controllers that deploy an `AnalyticsPlatform` and its `WorkerPool`s.
//!
//! Every import points downwards:
//!
//! ```text
//! main, cli, run                      reference: what docs/reference is generated from
//! preview                                dry run: what the controllers would do
//! controllers                            platform, worker_pool, recovery
//!     dereference -> validate -> plan -> apply -> status
//! autoscaling                            desired replicas, for KEDA and the HPA
//! kubernetes                             client, applier, cache, leader election, write fence
//! resources                              builders of Kubernetes objects, pure
//! capacity                               from queue statistics to replicas, pure
//! spec                                   settings, defaults, connection budget, names, pure
//! crd                telemetry           custom resources; metrics and their HTTP server
//! ```

pub mod autoscaling;
pub mod capacity;
pub mod cli;
pub mod controllers;
pub mod crd;
pub mod kubernetes;
pub mod preview;
pub mod reference;
pub mod resources;
pub mod run;
pub mod spec;
pub mod telemetry;
