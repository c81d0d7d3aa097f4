//! Metrics of the platform as a whole, of its last snapshot. Every API process exports the same
//! ones.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use switchyard_contract::{Health, Kind, Lane, LaneLimits, Lanes, QueueStats, Role};
use switchyard_jobs::store::{Outcomes, PlatformSnapshot, RoleSessions, Sessions};

use crate::{
    http::concurrency::ConcurrencyLimiter,
    operations::{
        health::{self, HealthInput},
        platform_snapshot::SnapshotCache,
    },
};

/// Collects the metrics at each scrape.
pub struct PlatformMetrics {
    pub snapshots: SnapshotCache,
    pub limiter: Arc<ConcurrencyLimiter>,
}

impl fmt::Debug for PlatformMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlatformMetrics")
    }
}

impl Collector for PlatformMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (in_flight, health) = (self.limiter.in_flight() as f64, self.snapshots.health());
        encode(encoder, in_flight, health, self.snapshots.lanes(), self.snapshots.last())
    }
}

/// Encodes the metrics of a snapshot with its age, and those that need none.
fn encode(
    encoder: DescriptorEncoder<'_>,
    in_flight: f64,
    health: Health,
    lanes: &Lanes,
    snapshot: Option<(Duration, Arc<PlatformSnapshot>)>,
) -> fmt::Result {
    let mut gauges = Gauges(encoder);
    gauges.one("switchyard_api_in_flight", "Requests in flight", in_flight)?;
    gauges.health(health)?;
    gauges.limits(lanes)?;
    let Some((age, snapshot)) = snapshot else { return Ok(()) };
    gauges.one("switchyard_queue_stats_age_seconds", "Age of the platform snapshot", age.as_secs_f64())?;
    gauges.queues(&snapshot.lanes)?;
    gauges.fairness(&snapshot)?;
    gauges.workers(&snapshot)?;
    gauges.sessions(&snapshot)
}

/// A series of each metric, for each value of its labels.
#[derive(Debug)]
pub struct PlatformMetricsSample;

impl Collector for PlatformMetricsSample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lanes = Lanes::default();
        let queues = Kind::ALL.iter().flat_map(|kind| {
            Lane::ALL.iter().map(|lane| QueueStats { service_seconds: Some(0.0), ..QueueStats::quiet(*kind, *lane) })
        });
        let roles = Role::ALL.iter();
        let snapshot = PlatformSnapshot {
            lanes: queues.collect(),
            fairness: Vec::new(),
            dead: 0,
            workers: Vec::new(),
            outcomes: Outcomes::default(),
            sessions: Sessions {
                max: 0,
                in_use: 0,
                rows: roles
                    .map(|role| RoleSessions { role: role.to_string(), limit: Some(0), in_use: 0, active: None })
                    .collect(),
            },
            recoveries: Vec::new(),
        };
        let health = health::score(&HealthInput {
            snapshot: Some(&snapshot),
            age: Some(Duration::ZERO),
            lanes: &lanes,
            writable: true,
            broker_connected: true,
            cache_available: true,
        });
        encode(encoder, 0.0, health, &lanes, Some((Duration::ZERO, Arc::new(snapshot))))
    }
}

type Labels = Vec<(&'static str, String)>;

fn lane_label(lane: Lane) -> Labels {
    vec![("lane", lane.to_string())]
}

fn queue_labels(queue: &QueueStats) -> Labels {
    vec![("kind", queue.kind.to_string()), ("lane", queue.lane.to_string())]
}

fn role_label(role: &str) -> Labels {
    vec![("role", role.to_owned())]
}

/// Encodes gauges.
struct Gauges<'a>(DescriptorEncoder<'a>);

impl Gauges<'_> {
    /// A gauge without labels.
    fn one(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// A gauge with one value for each set of labels.
    fn family<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A gauge with one value for each lane.
    fn by_lane(&mut self, name: &str, help: &str, value: impl Fn(Lane) -> f64) -> fmt::Result {
        self.family(name, help, Lane::ALL.iter().map(|lane| (lane_label(*lane), value(*lane))))
    }

    /// A gauge with one value for each queue that has one.
    fn by_queue(
        &mut self,
        name: &str,
        help: &str,
        queues: &[QueueStats],
        value: impl Fn(&QueueStats) -> Option<f64>,
    ) -> fmt::Result {
        self.family(name, help, queues.iter().filter_map(|queue| Some((queue_labels(queue), value(queue)?))))
    }

    fn health(&mut self, health: Health) -> fmt::Result {
        self.one("switchyard_health_score", "Health of the platform, 0 to 100", f64::from(health.score))?;
        let parts = health.parts.into_iter().map(|part| (vec![("part", part.name)], part.value));
        self.family("switchyard_health_part", "Parts of the health score, 0 to 1", parts)
    }

    fn limits(&mut self, lanes: &Lanes) -> fmt::Result {
        let mut limit = |name: &str, help: &str, value: fn(&LaneLimits) -> f64| {
            self.by_lane(name, help, |lane| value(lanes.get(lane)))
        };
        limit("switchyard_lane_capacity", "Analyses that may queue in a lane", |lane| lane.capacity.into())?;
        limit("switchyard_lane_max_running", "Analyses of a lane that may run at once", |lane| {
            lane.max_running.into()
        })?;
        limit("switchyard_lane_timeout_seconds", "Timeout of one attempt", |lane| lane.timeout_seconds as f64)
    }

    fn queues(&mut self, queues: &[QueueStats]) -> fmt::Result {
        let states = queues.iter().flat_map(|queue| {
            let state = |state: &str, jobs: i64| {
                let mut labels = queue_labels(queue);
                labels.push(("state", state.to_owned()));
                (labels, jobs as f64)
            };
            [
                state("ready", queue.depth),
                state("running", queue.running),
                state("retrying", queue.retrying),
                state("waiting", queue.waiting),
            ]
        });
        self.family("switchyard_lane_jobs", "Jobs by state; workers can claim the ready ones", states)?;
        let help = "Age of the oldest ready job";
        self.by_queue("switchyard_lane_oldest_job_age_seconds", help, queues, |queue| Some(queue.oldest_age_seconds))?;
        let help = "Whether claims are paused";
        self.by_queue("switchyard_lane_paused", help, queues, |queue| Some(f64::from(u8::from(queue.paused))))?;
        let help = "How long a job occupies a worker's slot";
        self.by_queue("switchyard_lane_service_seconds", help, queues, |queue| queue.service_seconds)
    }

    fn fairness(&mut self, snapshot: &PlatformSnapshot) -> fmt::Result {
        let share = |lane: Lane| snapshot.fairness.iter().find(|share| share.lane == lane);
        let help = "Tenants with waiting analyses in a lane";
        self.by_lane("switchyard_lane_tenants", help, |lane| share(lane).map_or(0.0, |s| s.tenants as f64))?;
        let help = "Largest share of one tenant in the waiting analyses of a lane";
        self.by_lane("switchyard_lane_largest_share", help, |lane| share(lane).map_or(0.0, |s| s.largest_share))?;
        let help = "Dead analyses that were neither replayed nor discarded";
        self.one("switchyard_dead_jobs", help, snapshot.dead as f64)
    }

    fn workers(&mut self, snapshot: &PlatformSnapshot) -> fmt::Result {
        let kinds = Kind::ALL.iter().map(|kind| {
            let seen = snapshot.workers.iter().find(|seen| seen.kind == *kind).map_or(0, |seen| seen.seen);
            (vec![("kind", kind.to_string())], seen as f64)
        });
        self.family("switchyard_workers_seen", "Workers with a heartbeat within a minute", kinds)
    }

    fn sessions(&mut self, snapshot: &PlatformSnapshot) -> fmt::Result {
        let roles = &snapshot.sessions.rows;
        let sessions = roles.iter().map(|role| (role_label(&role.role), f64::from(role.in_use)));
        self.family("switchyard_database_sessions", "Sessions at PostgreSQL, by role", sessions)?;
        let limits = roles.iter().filter_map(|role| Some((role_label(&role.role), f64::from(role.limit?))));
        self.family("switchyard_database_sessions_max", "Sessions that PostgreSQL allows a role", limits)
    }
}
