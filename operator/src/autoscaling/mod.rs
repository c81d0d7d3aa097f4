//! Autoscaling of pools: serves desired replicas to KEDA and to HorizontalPodAutoscalers.

pub mod desired_replicas;
pub(crate) mod external_metrics;
pub(crate) mod keda;
pub mod platform_client;
