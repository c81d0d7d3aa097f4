//! What the controllers share.

use std::{sync::Arc, time::Duration};

use kube::{
    Resource,
    runtime::{
        controller::Action,
        events::{Event, Recorder, Reporter},
    },
};

use crate::{
    autoscaling::platform_client::PlatformClient,
    controllers::{backoff::backoff, health::Healths},
    kubernetes::{applier::Cluster, error::Error},
    spec::images::Images,
    telemetry::metrics::Metrics,
};

/// Objects that a controller works on at once: most of the time it waits for the API server.
pub const CONCURRENCY: u16 = 12;

/// What changes within this time is looked at once.
pub const DEBOUNCE: Duration = Duration::from_millis(100);

/// What the controllers share.
#[derive(Clone)]
pub struct Context {
    pub cluster: Cluster,
    pub images: Arc<Images>,
    pub metrics: Metrics,
    pub platform_client: PlatformClient,
    pub healths: Healths,
    recorder: Recorder,
}

impl Context {
    /// A context of the operator's instance `identity`.
    pub fn new(
        cluster: Cluster,
        images: Images,
        metrics: Metrics,
        platform_client: PlatformClient,
        healths: Healths,
        identity: &str,
    ) -> Self {
        let reporter = Reporter { controller: "switchyard-operator".into(), instance: Some(identity.to_owned()) };
        let recorder = Recorder::new(cluster.client.clone(), reporter);
        Self { recorder, cluster, images: Arc::new(images), metrics, platform_client, healths }
    }

    /// Publishes Events about `object`. An Event that does not get through is logged and no more: the conditions say the same.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, events: &[Event]) {
        let reference = object.object_ref(&());
        for event in events {
            if let Err(error) = self.recorder.publish(event, &reference).await {
                tracing::warn!(%error, reason = event.reason, "an Event was not published");
            }
        }
    }

    /// What to do after an error: try again, later and later.
    pub fn after_error(&self, kind: &str, name: &str, error: &Error, failures: u32) -> Action {
        self.metrics.error(kind, error.category());
        let delay = backoff(failures);
        tracing::warn!(kind, name, %error, again_in_seconds = delay.as_secs(), "reconciling failed");
        Action::requeue(delay)
    }
}
