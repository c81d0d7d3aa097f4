//! Metrics, probes and heartbeat of the operator.

pub mod heartbeat;
pub mod http;
pub mod metrics;
