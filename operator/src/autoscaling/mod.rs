//! How many pods a pool should have, for the autoscalers that ask: KEDA and the cluster's own.

pub mod desired_replicas;
pub(crate) mod external_metrics;
pub(crate) mod keda;
pub mod platform_client;
