//! Automatic recovery. Only the leader runs it, and not for paused platforms' pods.
//!
//! Every 15 s it reads the health reports of all platforms, publishes the recoveries of their
//! workloads as Events, and replaces pods that do not become ready.
//!
//! A rule acts only on evidence against a single pod, rarely, and gives up if it does not help. A
//! fault that affects all pods of a workload is not the pod's, and replacing them would add load.

mod event;
mod health_reports;
mod pods;
mod replacement;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    controllers::{
        context::Context,
        health::Healths,
        recovery::{health_reports::HealthReports, replacement::Replacements},
    },
    crd::AnalyticsPlatform,
};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(15);
/// Platforms whose health is requested at once.
const CONCURRENCY: usize = 8;

/// Clears the health of all platforms when this instance stops leading: the next leader reports it.
struct ClearOnDrop(Healths);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.retain(|_, _| false);
    }
}

/// Runs the recovery of all platforms. Never returns.
pub async fn run(context: Context) {
    let context = &context;
    let (mut reports, mut replacements) = (HealthReports::default(), Replacements::default());
    let _clear = ClearOnDrop(context.healths.clone());
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let platforms: BTreeMap<(String, String), Arc<AnalyticsPlatform>> = context
            .cache
            .platforms()
            .state()
            .into_iter()
            .filter(|platform| platform.metadata.deletion_timestamp.is_none())
            .map(|platform| ((platform.namespace().unwrap_or_default(), platform.name_any()), platform))
            .collect();
        let exists = |namespace: &str, name: &str| platforms.contains_key(&(namespace.to_owned(), name.to_owned()));
        context.healths.retain(exists);
        reports.retain(exists);
        replacements.retain(|namespace| platforms.keys().any(|(other, _)| other == namespace));
        let received: Vec<_> = stream::iter(platforms.values())
            .map(|platform| async move { (platform, health_reports::request(context, platform).await) })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        for (platform, report) in received {
            reports.record(context, platform, report).await;
        }
        for platform in platforms.values() {
            replacements.replace(context, platform).await;
        }
    }
}
