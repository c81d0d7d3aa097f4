//! The framework of the end-to-end tests: a cluster, a platform in its own namespace, an API
//! client.
//!
//! It uses no type of the operator, so that a renamed field or reason fails a test.

#![expect(clippy::panic, reason = "a panic fails the test")]

mod api;
mod browser;
mod callers;
mod cluster;
mod connections;
mod platform;
mod prometheus;
mod sync;
mod wait;

pub use api::{ApiClient, Response};
pub use browser::Browser;
pub use callers::Callers;
pub use cluster::{Cluster, Namespace, image};
pub use connections::ConnectionMonitor;
pub use platform::{Platform, deploy_profile_source, submit_until_scaled_out};
pub use prometheus::{Prometheus, Timing};
pub use sync::lock;
pub use wait::eventually;
