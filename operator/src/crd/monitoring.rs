//! What is watched, when somebody is told, and what is healed without anybody.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::duration::Seconds;

/// How a platform is watched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// Whether a PodMonitor and a PrometheusRule are made where the cluster knows them (Prometheus Operator). Left out: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<bool>,
    /// Labels of both, for a Prometheus that selects by labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Between two looks at the metrics. Left out: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Seconds>,
    /// When somebody is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Alerts>,
    /// Where traces go. Left out: none are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<Traces>,
}

/// When somebody is told; what is left out keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alerts {
    /// Seconds within which 95 of 100 requests are answered. Left out: warning 2s, critical 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyAlert>,
    /// Part of the answers that are errors of the platform's, in percent. Left out: warning 5, critical 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<PercentAlert>,
    /// A workload's use of its CPU limit, in percent. Left out: warning 70, critical 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<PercentAlert>,
    /// A pod's use of its memory limit, in percent. Left out: warning 80, critical 95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<PercentAlert>,
    /// Jobs of all lanes that a worker could take now. Left out: warning 500, critical 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueAlert>,
    /// Requests of a hundred thousand that may fail in the long run. Left out: 100, which is an availability of 99.9 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50_000))]
    pub failures_per_hundred_thousand: Option<i32>,
    /// Where the runbooks are; their names follow. Left out: the ones of the project's documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^\\\\s\"]+/$')")
        .message("runbooks must be the beginning of a URL and end with a slash, such as https://wiki.example.com/runbooks/"))]
    pub runbooks: Option<String>,
}

/// Thresholds in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencyAlert {
    /// Past it somebody should look soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<Seconds>,
    /// Past it somebody is woken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<Seconds>,
}

/// Thresholds in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PercentAlert {
    /// Past it somebody should look soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub warning: Option<i32>,
    /// Past it somebody is woken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub critical: Option<i32>,
}

/// Thresholds in jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueAlert {
    /// Past it somebody should look soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub warning: Option<i32>,
    /// Past it somebody is woken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub critical: Option<i32>,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traces {
    /// A collector that takes OTLP over HTTP, for instance http://collector.observability:4318.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@\\\\s]+(/[^?#\\\\s]*)?$')")
        .message("endpoint must be a URL such as http://collector.observability:4318: it begins with http:// or https:// and carries no user, query or fragment"))]
    pub endpoint: String,
    /// How many of a hundred requests are traced that come without a decision of their caller's. Left out: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<i32>,
}

/// What is healed without anybody asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverySpec {
    /// Whether a pod that has not been ready for five minutes, while others of its workload are, is replaced. Left out: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_pods: Option<bool>,
    /// Whether a job that two workers in a row ended in the middle of is dead at once. Left out: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_jobs: Option<bool>,
}
