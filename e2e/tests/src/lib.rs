//! What the end-to-end tests share: a cluster, a platform in a namespace of its own, an API client.
//!
//! Nothing here knows the operator's types: a test from outside must notice when a name changes.

mod api;
mod browser;
mod callers;
mod cluster;
mod connections;
mod platform;
mod prometheus;

pub use api::{Answer, ApiClient};
pub use browser::Browser;
pub use callers::Callers;
pub use cluster::{Cluster, Namespace, image, locked, patiently};
pub use connections::Connections;
pub use platform::{Platform, grows_with_its_jobs, profile_source};
pub use prometheus::{Pace, Prometheus};
