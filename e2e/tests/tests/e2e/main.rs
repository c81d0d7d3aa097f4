//! End-to-end tests on a real Kubernetes cluster.
//!
//! One binary, so that the framework is linked once. The scripts below `e2e` select modules,
//! because the cluster must be in a different state for some:
//!
//! - `e2e/run` runs [`schema`], [`platform`], [`secrets`], [`pipeline`], [`console`] and
//!   [`recovery`]; then [`monitoring`], with the kinds of the Prometheus operator; then [`keda`],
//!   with KEDA.
//! - `e2e/reliability/run` and `e2e/soak/run` run [`reliability`] and [`soak`]. These measure for
//!   an hour, so their tests are ignored by default.
//! - `e2e/pipeline/run` runs [`pipeline`] with more analyses.

#![expect(clippy::print_stdout, reason = "figures of a run")]

mod console;
mod keda;
mod monitoring;
mod pipeline;
mod platform;
mod recovery;
mod reliability;
mod schema;
mod secrets;
mod soak;
