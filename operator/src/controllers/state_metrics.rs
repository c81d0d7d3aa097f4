//! Metrics about the state of all platforms and pools, in the manner of kube-state-metrics.
//!
//! They are read from the watch cache at each scrape. Every instance serves them, standbys too.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use kube::ResourceExt as _;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use switchyard_contract::{Health, Role};

use crate::{
    controllers::{condition::find, health::Healths},
    crd::{AnalyticsPlatformStatus, ConnectionAllocation},
    kubernetes::{
        cache::{entry::ObservedState, store::WatchCache},
        rollout::Rollout,
    },
};

/// A collector that reads the metrics from the watch cache.
pub struct StateMetrics {
    pub cache: WatchCache,
    pub healths: Healths,
}

impl fmt::Debug for StateMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateMetrics")
    }
}

/// Names and values of a series' labels.
type Labels = Vec<(&'static str, String)>;

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(Labels, f64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

impl Collector for StateMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut series = Series::default();
        for platform in self.cache.platforms().state() {
            let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
            let status = self.cache.platform_status(&namespace, &name).unwrap_or_default();
            series.platform(&namespace, &name, &status, self.healths.of(&namespace, &name).as_ref());
        }
        for pool in self.cache.pools().state() {
            let (namespace, name) = (pool.namespace().unwrap_or_default(), pool.name_any());
            let platform = &pool.spec.platform_ref.name;
            let status = self.cache.pool_status(&namespace, &name).unwrap_or_default();
            let deployment = self.cache.get("Deployment", &namespace, &name);
            let rollout = match deployment.as_deref().map(|seen| &seen.state) {
                Some(ObservedState::Deployment { rollout, .. }) => Some(rollout),
                _ => None,
            };
            series.pool([&namespace, platform, &name], &status.conditions, rollout);
        }
        series.encode(encoder)
    }
}

/// The series of all platforms and pools.
#[derive(Default)]
struct Series {
    ready: Vec<(Labels, f64)>,
    scores: Vec<(Labels, f64)>,
    allocations: Vec<(Labels, f64)>,
    pools_ready: Vec<(Labels, f64)>,
    replicas: Vec<(Labels, f64)>,
}

impl Series {
    fn platform(&mut self, namespace: &str, name: &str, status: &AnalyticsPlatformStatus, health: Option<&Health>) {
        let labels = || vec![("namespace", namespace.to_owned()), ("platform", name.to_owned())];
        self.ready.push((labels(), is_ready(&status.conditions)));
        self.scores.extend(health.map(|health| (labels(), f64::from(health.score))));
        for allocation in &status.connections {
            for (what, value) in
                [("granted", allocation.size + allocation.overflow), ("at-most", allocation.used_at_most)]
            {
                let mut labels = labels();
                labels.extend([("role", allocation.role.to_string()), ("allocation", what.to_owned())]);
                self.allocations.push((labels, f64::from(value)));
            }
        }
    }

    fn pool(&mut self, names: [&str; 3], conditions: &[metav1::Condition], rollout: Option<&Rollout>) {
        let labels = || ["namespace", "platform", "pool"].into_iter().zip(names.map(str::to_owned)).collect::<Labels>();
        self.pools_ready.push((labels(), is_ready(conditions)));
        for (state, pods) in rollout.iter().flat_map(|rollout| [("desired", rollout.desired), ("ready", rollout.ready)])
        {
            let mut labels = labels();
            labels.push(("state", state.to_owned()));
            self.replicas.push((labels, f64::from(pods)));
        }
    }

    fn encode(self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let e = &mut encoder;
        gauge(e, "switchyard_platform_ready", "Whether a platform accepts and runs analyses", self.ready)?;
        gauge(e, "switchyard_platform_health_score", "Health score of a platform, 0 to 100", self.scores)?;
        gauge(e, "switchyard_platform_connections", "Allocations of the connection budget", self.allocations)?;
        gauge(e, "switchyard_pool_ready", "Whether a pool runs jobs", self.pools_ready)?;
        gauge(e, "switchyard_pool_replicas", "Pods of a pool, desired and ready", self.replicas)
    }
}

fn is_ready(conditions: &[metav1::Condition]) -> f64 {
    let is_ready = find(conditions, "Ready").is_some_and(|ready| ready.status == "True");
    f64::from(u8::from(is_ready))
}

/// A series of each metric, for each value of its labels.
#[derive(Debug)]
pub struct StateMetricsSample;

impl Collector for StateMetricsSample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let allocation =
            |role: &Role| ConnectionAllocation { role: *role, size: 0, overflow: 0, pods_at_most: 0, used_at_most: 0 };
        let status = AnalyticsPlatformStatus {
            connections: Role::ALL.iter().map(allocation).collect(),
            ..AnalyticsPlatformStatus::default()
        };
        let mut series = Series::default();
        series.platform("", "", &status, Some(&Health { score: 0, parts: Vec::new() }));
        series.pool(["", "", ""], &[], Some(&Rollout::default()));
        series.encode(encoder)
    }
}
