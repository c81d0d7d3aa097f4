//! What the database knows of the platform, and what this process works on, read when the metrics are. Every API process tells the same of the platform.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use switchyard_contract::{Lane, QueueStats};

use crate::{http::concurrency::Gate, operations::platform_snapshot::Facts};

/// Shows them.
pub struct PlatformMetrics {
    pub facts: Facts,
    pub gate: Arc<Gate>,
}

impl fmt::Debug for PlatformMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlatformMetrics")
    }
}

/// Writes a gauge with one value a set of labels.
fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Writes a gauge without labels.
fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

type Labels = Vec<(&'static str, String)>;

fn queue(facts: &QueueStats) -> Labels {
    vec![("kind", facts.kind.to_string()), ("lane", facts.lane.to_string())]
}

impl Collector for PlatformMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let e = &mut encoder;
        gauge(e, "switchyard_api_in_flight", "Requests that are worked on", self.gate.in_flight() as f64)?;
        let health = self.facts.health();
        gauge(e, "switchyard_health_score", "How well the platform does, 0 to 100", f64::from(health.score))?;
        let parts = health.parts.into_iter().map(|part| (vec![("part", part.name)], part.value));
        gauges(e, "switchyard_health_part", "Parts of the health score, 1 in good order", parts)?;
        let lanes = self.facts.lanes();
        let limit = |lane: Lane, value: f64| (vec![("lane", lane.to_string())], value);
        let capacities = Lane::ALL.iter().map(|lane| limit(*lane, lanes.get(*lane).capacity.into()));
        gauges(e, "switchyard_lane_capacity", "Analyses that may queue in a lane", capacities)?;
        let places = Lane::ALL.iter().map(|lane| limit(*lane, lanes.get(*lane).max_running.into()));
        gauges(e, "switchyard_lane_max_running", "Analyses of a lane that may run at once", places)?;
        let timeouts = Lane::ALL.iter().map(|lane| limit(*lane, lanes.get(*lane).timeout_seconds as f64));
        gauges(e, "switchyard_lane_timeout_seconds", "What a lane gives one attempt", timeouts)?;
        let Some((age, facts)) = self.facts.last() else { return Ok(()) };
        let help = "How old the figures of the platform are";
        gauge(e, "switchyard_queue_stats_age_seconds", help, age.as_secs_f64())?;
        let states = facts.lanes.iter().flat_map(|lane| {
            let state = |state: &str, jobs: i64| {
                let mut labels = queue(lane);
                labels.push(("state", state.to_owned()));
                (labels, jobs as f64)
            };
            [
                state("ready", lane.depth),
                state("running", lane.running),
                state("retrying", lane.retrying),
                state("waiting", lane.waiting),
            ]
        });
        gauges(e, "switchyard_lane_jobs", "Jobs by state; ready ones could be claimed now", states)?;
        let oldest = facts.lanes.iter().map(|lane| (queue(lane), lane.oldest_age_seconds));
        gauges(e, "switchyard_lane_oldest_job_age_seconds", "How long the oldest ready job has waited", oldest)?;
        let paused = facts.lanes.iter().map(|lane| (queue(lane), f64::from(u8::from(lane.paused))));
        gauges(e, "switchyard_lane_paused", "Whether claims are stopped", paused)?;
        let service = facts.lanes.iter().filter_map(|lane| Some((queue(lane), lane.service_seconds?)));
        gauges(e, "switchyard_lane_service_seconds", "How long a job holds a worker's slot", service)?;
        let shares = |lane: Lane| facts.fairness.iter().find(|share| share.lane == lane);
        let tenants = Lane::ALL.iter().map(|lane| limit(*lane, shares(*lane).map_or(0.0, |s| s.tenants as f64)));
        gauges(e, "switchyard_lane_tenants", "Tenants whose analyses wait in a lane", tenants)?;
        let largest = Lane::ALL.iter().map(|lane| limit(*lane, shares(*lane).map_or(0.0, |s| s.largest_share)));
        let help = "The part of the analyses that wait in a lane that belongs to one tenant";
        gauges(e, "switchyard_lane_largest_share", help, largest)?;
        let help = "Dead analyses that nobody replayed or discarded";
        gauge(e, "switchyard_dead_jobs", help, facts.dead as f64)?;
        let kinds = switchyard_contract::Kind::ALL.iter().map(|kind| {
            let seen = facts.workers.iter().find(|seen| seen.kind == *kind).map_or(0, |seen| seen.seen);
            (vec![("kind", kind.to_string())], seen as f64)
        });
        gauges(e, "switchyard_workers_seen", "Workers that gave a sign of life within a minute", kinds)?;
        let role = |role: &str, value: u32| (vec![("role", role.to_owned())], f64::from(value));
        let rows = &facts.sessions.rows;
        let sessions = rows.iter().map(|row| role(&row.role, row.in_use));
        gauges(e, "switchyard_database_sessions", "Sessions at PostgreSQL, by role", sessions)?;
        let limits = rows.iter().filter_map(|row| Some(role(&row.role, row.limit?)));
        gauges(e, "switchyard_database_sessions_max", "Sessions that PostgreSQL allows a role", limits)
    }
}
