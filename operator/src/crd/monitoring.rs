//! Monitoring and recovery in the spec of an `AnalyticsPlatform`.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::duration::Seconds;

/// Metrics, alerts and traces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// Creates a PodMonitor and a PrometheusRule if the Prometheus Operator is installed. Defaults
    /// to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<bool>,
    /// Additional labels of both objects, for a Prometheus that selects by label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Scrape interval. Defaults to 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Seconds>,
    /// Alert thresholds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Alerts>,
    /// Export of traces. If not set, no traces are exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<Traces>,
}

/// Alert thresholds. A field that is not set keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alerts {
    /// 95th percentile of the request latency. Defaults to warning 2s, critical 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyAlert>,
    /// Server errors, in percent of all responses. Defaults to warning 5, critical 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<PercentAlert>,
    /// CPU usage of a workload, in percent of its CPU limit. Applies only to containers with a CPU
    /// limit, which the presets do not set. Defaults to warning 70, critical 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<PercentAlert>,
    /// Memory usage of a pod, in percent of its limit. Defaults to warning 80, critical 95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<PercentAlert>,
    /// Runnable jobs of all lanes. Defaults to warning 500, critical 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueAlert>,
    /// Error budget: failed requests of 100,000. Defaults to 100, an availability of 99.9 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50_000))]
    pub failures_per_hundred_thousand: Option<i32>,
    /// URL prefix of the runbooks. Defaults to the runbooks of the project's documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^\\\\s\"]+/$')")
        .message("runbooks must be the beginning of a URL and end with a slash, such as https://wiki.example.com/runbooks/"))]
    pub runbooks: Option<String>,
}

/// Alert thresholds as durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencyAlert {
    /// Threshold of the alert with severity warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<Seconds>,
    /// Threshold of the alert with severity critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<Seconds>,
}

/// Alert thresholds in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PercentAlert {
    /// Threshold of the alert with severity warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub warning: Option<i32>,
    /// Threshold of the alert with severity critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub critical: Option<i32>,
}

/// Alert thresholds as numbers of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueAlert {
    /// Threshold of the alert with severity warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub warning: Option<i32>,
    /// Threshold of the alert with severity critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub critical: Option<i32>,
}

/// Export of traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traces {
    /// URL of a collector that accepts OTLP over HTTP, for example
    /// `http://collector.observability:4318`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@\\\\s]+(/[^?#\\\\s]*)?$')")
        .message("endpoint must be a URL such as http://collector.observability:4318: it begins with http:// or https:// and carries no user, query or fragment"))]
    pub endpoint: String,
    /// Sampled requests, in percent of those without a sampling decision of their caller. Defaults
    /// to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<i32>,
}

/// Automatic recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverySpec {
    /// Replaces a pod that has not been ready for five minutes while another pod of the same
    /// template is ready. Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_pods: Option<bool>,
    /// Quarantines a job that crashed two workers in a row: it is dead without further attempts.
    /// Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_jobs: Option<bool>,
}
