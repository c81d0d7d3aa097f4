//! PodMonitor and PrometheusRule of a platform, for clusters with the Prometheus operator. Pure.

use std::collections::BTreeMap;

use kube::api::ApiResource;
use switchyard_contract::Lane;

use crate::{
    resources::{
        alert_rules::groups, manifest::Manifest, owner::Owner, pod_monitor, probes::OPERATIONS, prometheus_rule,
    },
    spec::{names, settings::Settings},
};

/// A PodMonitor and a PrometheusRule. Objects of `missing` kinds are left out.
pub fn monitoring(settings: &Settings, owner: &Owner, missing: &[ApiResource]) -> Vec<Manifest> {
    let monitoring = &settings.monitoring;
    if !monitoring.prometheus {
        return Vec::new();
    }
    let meta = || {
        let mut meta = owner.meta(format!("{}-monitoring", settings.name), "monitoring");
        let labels = meta.labels.get_or_insert_default();
        for (key, value) in &monitoring.labels {
            // A user must not override the labels that the operator finds its objects by.
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
        all.push(prometheus_rule::prometheus_rule(meta(), &groups(&selector, &monitoring.thresholds, waits)));
    }
    all
}
