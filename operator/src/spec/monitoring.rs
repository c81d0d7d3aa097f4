//! How a platform is watched, with every default filled in. Pure.

use std::collections::BTreeMap;

use switchyard_contract::Telemetry;

use crate::crd::{MonitoringSpec, PercentAlert};

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

fn thresholds(alerts: crate::crd::Alerts) -> Thresholds {
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

/// Where the runbooks are unless a platform says where its own are.
pub const RUNBOOKS: &str = "https://github.com/switchyard-dev/switchyard/blob/main/docs/runbooks/";

/// Two thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    pub warning: f64,
    pub critical: f64,
}

/// When somebody is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Seconds.
    pub latency: Levels,
    /// Parts of 1, as the next two.
    pub errors: Levels,
    pub cpu: Levels,
    pub memory: Levels,
    /// Jobs.
    pub queue: Levels,
    /// The part of the requests that may fail in the long run.
    pub budget: f64,
    /// The beginning of a runbook's address.
    pub runbooks: String,
}

impl Default for Thresholds {
    fn default() -> Self {
        let levels = |warning, critical| Levels { warning, critical };
        Self {
            latency: levels(2.0, 5.0),
            errors: levels(0.05, 0.15),
            cpu: levels(0.7, 0.9),
            memory: levels(0.8, 0.95),
            queue: levels(500.0, 1000.0),
            budget: 0.001,
            runbooks: RUNBOOKS.to_owned(),
        }
    }
}
