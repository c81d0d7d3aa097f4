//! Pure builders of Kubernetes objects, one module a kind. None of them calls the API server.

pub mod alert_rules;
pub mod config_map;
pub mod deployment;
pub mod horizontal_pod_autoscaler;
pub mod http_route;
pub mod ingress;
pub mod job;
pub mod limit_range;
pub mod manifest;
pub mod merge;
pub mod network_policy;
pub mod owner;
pub mod pod;
pub mod pod_disruption_budget;
pub mod pod_monitor;
pub mod probes;
pub mod prometheus_rule;
pub mod resource_quota;
pub mod scaled_object;
pub mod secret;
pub mod service;
pub mod stateful_set;
pub mod worker_pool;
