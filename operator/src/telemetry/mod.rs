//! The operator's own metrics, and where they are served.

pub mod heartbeat;
pub mod http;
pub mod metrics;
