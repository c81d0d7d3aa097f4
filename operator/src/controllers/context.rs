//! The clients, caches and settings that all controllers share.

use std::sync::Arc;

use kube::{
    Client, Resource,
    runtime::events::{Event, Recorder, Reporter},
};

use crate::{
    autoscaling::platform_client::PlatformClient,
    controllers::health::Healths,
    kubernetes::{applier::Applier, cache::store::WatchCache, reader::ClusterReader},
    spec::images::Images,
    telemetry::metrics::Metrics,
};

/// The clients, caches and settings that all controllers share.
#[derive(Clone)]
pub struct Context {
    pub cache: WatchCache,
    pub reader: ClusterReader,
    pub applier: Applier,
    pub images: Arc<Images>,
    pub metrics: Metrics,
    pub platform_client: PlatformClient,
    pub healths: Healths,
    recorder: Recorder,
}

impl Context {
    /// The context of the operator instance `identity`, which is the reporter of its Events.
    pub fn new(
        client: Client,
        cache: WatchCache,
        images: Images,
        metrics: Metrics,
        platform_client: PlatformClient,
        healths: Healths,
        identity: &str,
    ) -> Self {
        let reporter = Reporter { controller: "switchyard-operator".into(), instance: Some(identity.to_owned()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            reader: ClusterReader::new(client.clone(), cache.clone()),
            applier: Applier::new(client, cache.clone()),
            cache,
            images: Arc::new(images),
            metrics,
            platform_client,
            healths,
            recorder,
        }
    }

    /// Publishes Events about `object`. A failure is only logged, since the conditions have the
    /// same information.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, events: &[Event]) {
        let reference = object.object_ref(&());
        for event in events {
            if let Err(error) = self.recorder.publish(event, &reference).await {
                tracing::warn!(%error, reason = event.reason, "could not publish Event");
            }
        }
    }
}
