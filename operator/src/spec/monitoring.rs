//! Monitoring settings of a platform with all defaults applied. Pure.

use std::collections::BTreeMap;

use switchyard_contract::Telemetry;

use crate::crd::{MonitoringSpec, PercentAlert};

/// Scrape interval, in seconds.
const INTERVAL_SECONDS: u64 = 30;

/// Sampled requests, in percent.
const PERCENT: u8 = 1;

/// Monitoring settings with all defaults applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitoring {
    pub prometheus: bool,
    pub labels: BTreeMap<String, String>,
    pub interval_seconds: u64,
    pub thresholds: Thresholds,
    pub telemetry: Option<Telemetry>,
}

impl Monitoring {
    /// Applies the defaults to `spec`.
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

/// Default URL prefix of the runbooks.
pub const RUNBOOKS: &str = "https://github.com/switchyard-dev/switchyard/blob/main/docs/runbooks/";

/// Thresholds of a warning and of a critical alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    pub warning: f64,
    pub critical: f64,
}

/// Alert thresholds.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Seconds.
    pub latency: Levels,
    /// Fractions of 1, like `cpu` and `memory`.
    pub errors: Levels,
    pub cpu: Levels,
    pub memory: Levels,
    /// Number of jobs.
    pub queue: Levels,
    /// Error budget: the fraction of requests that may fail.
    pub budget: f64,
    /// URL prefix of the runbooks.
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
