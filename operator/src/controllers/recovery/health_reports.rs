//! Health reports of the platforms' APIs, and the recoveries in them as Events.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, runtime::events::Event};
use switchyard_contract::{HealthReport, RecoveryRecord};

use crate::{
    controllers::{context::Context, recovery::event::warning},
    crd::AnalyticsPlatform,
};

/// Failed requests in a row after which the health is unknown.
const UNKNOWN_AFTER: u32 = 3;
/// At the first report after a start, recoveries older than this are not published.
const MAX_AGE: Duration = Duration::from_mins(5);

/// A value by platform, by namespace and name.
type ByPlatform<T> = HashMap<(String, String), T>;

/// What is known from earlier reports.
#[derive(Default)]
pub(super) struct HealthReports {
    /// Id of the last published recovery of a platform.
    published: ByPlatform<i64>,
    /// Failed requests in a row.
    failures: ByPlatform<u32>,
}

/// Requests the health report of a platform's API; none if it does not serve or does not answer.
pub(super) async fn request(context: &Context, platform: &AnalyticsPlatform) -> Option<HealthReport> {
    let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
    let status = context.cache.platform_status(&namespace, &name);
    let serves = status.is_some_and(|status| status.url.is_some());
    if serves { context.platform_client.health_report(&namespace, &name).await.ok() } else { None }
}

impl HealthReports {
    /// Forgets platforms that no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(&str, &str) -> bool) {
        self.published.retain(|(namespace, name), _| exists(namespace, name));
        self.failures.retain(|(namespace, name), _| exists(namespace, name));
    }

    /// Stores the health of `report` and publishes its new recoveries. A few failed requests in a
    /// row leave the last health in place.
    pub(super) async fn record(
        &mut self,
        context: &Context,
        platform: &AnalyticsPlatform,
        report: Option<HealthReport>,
    ) {
        let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
        let failures = self.failures.entry((namespace.clone(), name.clone())).or_default();
        *failures = if report.is_some() { 0 } else { failures.saturating_add(1) };
        if report.is_none() && *failures < UNKNOWN_AFTER {
            return;
        }
        let health = report.as_ref().map(|report| report.health.clone());
        if context.healths.set(&namespace, &name, health) {
            context.cache.enqueue_platform(&namespace, &name);
        }
        self.publish(context, platform, &report.map(|report| report.recoveries).unwrap_or_default()).await;
    }

    /// Publishes the recoveries that were not published before.
    async fn publish(&mut self, context: &Context, platform: &AnalyticsPlatform, recoveries: &[RecoveryRecord]) {
        let key = (platform.namespace().unwrap_or_default(), platform.name_any());
        let Some(last) = recoveries.iter().map(|recovery| recovery.id).max() else { return };
        let published = self.published.insert(key, last);
        let is_new = |recovery: &&RecoveryRecord| match published {
            Some(published) => recovery.id > published,
            None => recovery.at.parse().is_ok_and(|at: Timestamp| {
                Timestamp::now().duration_since(at) < MAX_AGE.try_into().unwrap_or_default()
            }),
        };
        let events: Vec<Event> = recoveries.iter().filter(is_new).map(event).collect();
        context.publish(platform, &events).await;
    }
}

fn event(recovery: &RecoveryRecord) -> Event {
    let RecoveryRecord { subject, evidence, .. } = recovery;
    match recovery.action.as_str() {
        "job-quarantined" => warning(
            "JobQuarantined",
            format!("job {subject} is quarantined: {evidence}; find the cause before you replay it"),
        ),
        "memory-drain" => warning(
            "WorkerDrained",
            format!(
                "worker {subject} finished its jobs and restarted: {evidence}; raise the pool's memory limit if it recurs"
            ),
        ),
        other => warning("Recovered", format!("{other}: {subject} ({evidence})")),
    }
}
