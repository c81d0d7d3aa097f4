//! Metrics about the state of all platforms and pools, in the manner of kube-state-metrics.
//!
//! They are read from the watch cache at each scrape. Every instance serves them, standbys too.

use std::fmt;

use kube::ResourceExt as _;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{
    controllers::{condition::find, health::Healths},
    kubernetes::cache::{entry::ObservedState, store::WatchCache},
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
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (mut ready, mut scores, mut allocations) = (Vec::new(), Vec::new(), Vec::new());
        for platform in self.cache.platforms().state() {
            let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
            let labels = || vec![("namespace", namespace.clone()), ("platform", name.clone())];
            let status = self.cache.platform_status(&namespace, &name).unwrap_or_default();
            let is_ready = find(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
            ready.push((labels(), f64::from(u8::from(is_ready))));
            scores.extend(self.healths.of(&namespace, &name).map(|health| (labels(), f64::from(health.score))));
            for allocation in &status.connections {
                for (what, value) in
                    [("granted", allocation.size + allocation.overflow), ("at-most", allocation.used_at_most)]
                {
                    let mut labels = labels();
                    labels.extend([("role", allocation.role.to_string()), ("allocation", what.to_owned())]);
                    allocations.push((labels, f64::from(value)));
                }
            }
        }
        let (mut pools_ready, mut replicas) = (Vec::new(), Vec::new());
        for pool in self.cache.pools().state() {
            let (namespace, name) = (pool.namespace().unwrap_or_default(), pool.name_any());
            let platform = pool.spec.platform_ref.name.clone();
            let labels =
                || vec![("namespace", namespace.clone()), ("platform", platform.clone()), ("pool", name.clone())];
            let status = self.cache.pool_status(&namespace, &name).unwrap_or_default();
            let is_ready = find(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
            pools_ready.push((labels(), f64::from(u8::from(is_ready))));
            let deployment = self.cache.get("Deployment", &namespace, &name);
            if let Some(ObservedState::Deployment { rollout, .. }) = deployment.as_deref().map(|seen| &seen.state) {
                for (state, pods) in [("desired", rollout.desired), ("ready", rollout.ready)] {
                    let mut labels = labels();
                    labels.push(("state", state.to_owned()));
                    replicas.push((labels, f64::from(pods)));
                }
            }
        }
        let e = &mut encoder;
        gauge(e, "switchyard_platform_ready", "Whether a platform accepts and runs analyses", ready)?;
        gauge(e, "switchyard_platform_health_score", "Health score of a platform, 0 to 100", scores)?;
        gauge(e, "switchyard_platform_connections", "Allocations of the connection budget", allocations)?;
        gauge(e, "switchyard_pool_ready", "Whether a pool runs jobs", pools_ready)?;
        gauge(e, "switchyard_pool_replicas", "Pods of a pool, desired and ready", replicas)
    }
}
