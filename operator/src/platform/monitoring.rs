//! What has a platform watched, where the cluster knows the Prometheus operator. Pure.

use std::collections::BTreeMap;

use kube::api::ApiResource;
use switchyard_contract::{Lane, Telemetry};

use super::settings::Settings;
use crate::{
    api::{MonitoringSpec, PercentAlert},
    monitoring::{Levels, Thresholds, groups},
    names,
    resources::{Manifest, Owner, pod::OPERATIONS, pod_monitor, prometheus_rule},
};

/// Between two looks at the metrics, in seconds.
const INTERVAL_SECONDS: u64 = 30;
/// How many of a hundred requests are traced.
const PERCENT: u8 = 1;

/// How a platform is watched, with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitoring {
    pub prometheus: bool,
    pub labels: BTreeMap<String, String>,
    pub interval_seconds: u64,
    pub thresholds: Thresholds,
    pub telemetry: Option<Telemetry>,
}

impl Monitoring {
    /// The settings that `spec` asks for.
    pub fn of(spec: Option<&MonitoringSpec>) -> Self {
        let spec = spec.cloned().unwrap_or_default();
        Self {
            prometheus: spec.prometheus.unwrap_or(true),
            labels: spec.labels.unwrap_or_default(),
            interval_seconds: spec.interval.map_or(INTERVAL_SECONDS, |interval| interval.0.max(1)),
            thresholds: thresholds(spec.alerts.unwrap_or_default()),
            telemetry: spec.traces.map(|traces| Telemetry {
                otlp_endpoint: traces.endpoint,
                sample_percent: traces.percent.map_or(PERCENT, |percent| u8::try_from(percent).unwrap_or(0)),
            }),
        }
    }
}

fn thresholds(alerts: crate::api::Alerts) -> Thresholds {
    let default = Thresholds::default();
    let over = |default: f64, over: Option<i32>, unit: f64| over.map_or(default, |over| f64::from(over) / unit);
    let percent = |default: Levels, alert: Option<PercentAlert>| {
        let PercentAlert { warning, critical } = alert.unwrap_or_default();
        Levels { warning: over(default.warning, warning, 100.0), critical: over(default.critical, critical, 100.0) }
    };
    let (latency, queue) = (alerts.latency.unwrap_or_default(), alerts.queue.unwrap_or_default());
    Thresholds {
        latency: Levels {
            warning: latency.warning.map_or(default.latency.warning, |limit| limit.0 as f64),
            critical: latency.critical.map_or(default.latency.critical, |limit| limit.0 as f64),
        },
        errors: percent(default.errors, alerts.errors),
        cpu: percent(default.cpu, alerts.cpu),
        memory: percent(default.memory, alerts.memory),
        queue: Levels {
            warning: over(default.queue.warning, queue.warning, 1.0),
            critical: over(default.queue.critical, queue.critical, 1.0),
        },
        budget: over(default.budget, alerts.failures_per_hundred_thousand, 100_000.0),
        runbooks: alerts.runbooks.unwrap_or(default.runbooks),
    }
}

/// A PodMonitor and a PrometheusRule. A kind that is `missing` from the cluster is left out.
pub fn monitoring(settings: &Settings, owner: &Owner, missing: &[ApiResource]) -> Vec<Manifest> {
    let monitoring = &settings.monitoring;
    if !monitoring.prometheus {
        return Vec::new();
    }
    let meta = || {
        let mut meta = owner.meta(format!("{}-monitoring", settings.name), "monitoring");
        let labels = meta.labels.get_or_insert_default();
        for (key, value) in &monitoring.labels {
            // What the operator finds its own objects by is not to be had.
            labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        meta
    };
    let mut all = Vec::new();
    if !missing.contains(&pod_monitor::resource()) {
        let selector = BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), "switchyard".to_owned()),
            (names::PLATFORM_LABEL.to_owned(), settings.name.clone()),
        ]);
        all.push(pod_monitor::pod_monitor(
            meta(),
            &selector,
            &["api", "worker"],
            (&settings.name, names::POOL_LABEL, "api"),
            (OPERATIONS, monitoring.interval_seconds),
        ));
    }
    if !missing.contains(&prometheus_rule::resource()) {
        let selector = format!(r#"namespace="{}",platform="{}""#, settings.namespace, settings.name);
        let wait = |lane: Lane| (lane.as_str(), settings.lanes.get(lane).timeout_seconds);
        let waits = [Lane::Critical, Lane::High, Lane::Normal, Lane::Low].map(wait);
        all.push(prometheus_rule::prometheus_rule(meta(), groups(&selector, &monitoring.thresholds, waits)));
    }
    all
}
