//! The pods that pools should have, for whoever asks: an autoscaler through the external-metrics API.
//!
//! Every instance of the operator keeps a copy of all platforms and pools to answer from, so that an answer costs the API server nothing.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures::{StreamExt, future::join};
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use switchyard_contract::QueueFacts;

use crate::{
    api::{AnalyticsPlatform, WorkerPool},
    capacity::{self, Pool},
    platform::{controller::scoped, settings::Settings},
    queues::Queues,
};

/// Answers from copies of all platforms and pools, and from what their APIs tell. Cheap to clone.
#[derive(Clone)]
pub struct Wanted {
    queues: Queues,
    platforms: Store<AnalyticsPlatform>,
    pools: Store<WorkerPool>,
}

impl Wanted {
    /// An answerer, and what keeps its copies of the objects of `namespace`, or of all, up to date for ever.
    pub fn new(client: &Client, namespace: Option<&str>, queues: Queues) -> (Self, impl Future<Output = ()> + use<>) {
        let (platforms, platforms_writer) = reflector::store();
        let (pools, pools_writer) = reflector::store();
        let copies = join(
            copy(scoped::<AnalyticsPlatform>(client, namespace), platforms_writer),
            copy(scoped::<WorkerPool>(client, namespace), pools_writer),
        );
        (Self { queues, platforms, pools }, async move {
            copies.await;
        })
    }

    /// The pods that the pool `namespace`/`name` should have.
    ///
    /// # Errors
    /// When nothing is known about the pool, or about what waits for it: in words.
    pub async fn pods(&self, namespace: &str, name: &str) -> Result<capacity::Wanted, String> {
        let pool = self
            .pools
            .get(&ObjectRef::new(name).within(namespace))
            .ok_or_else(|| format!("there is no WorkerPool {name} in namespace {namespace}"))?;
        if pool.spec.scaling.is_none() {
            return Err(format!("WorkerPool {name} has no spec.scaling: its pods are fixed"));
        }
        let platform_name = &pool.spec.platform_ref.name;
        let platform = self
            .platforms
            .get(&ObjectRef::new(platform_name).within(namespace))
            .ok_or_else(|| format!("there is no AnalyticsPlatform {platform_name} in namespace {namespace}"))?;
        let siblings: Vec<Arc<WorkerPool>> = self
            .pools
            .state()
            .into_iter()
            .filter(|other| {
                other.namespace().as_deref() == Some(namespace) && other.spec.platform_ref == pool.spec.platform_ref
            })
            .collect();
        let settings = Settings::of(namespace, platform_name, &platform.spec);
        let facts = self.queues.of(namespace, platform_name).await?;
        of_pools(&facts, &settings, siblings.iter().map(AsRef::as_ref)).remove(name).ok_or_else(|| {
            format!("the API of platform {platform_name} does not know every lane that WorkerPool {name} serves")
        })
    }
}

/// The pods that each scaled pool of a platform should have for what waits.
pub fn of_pools<'a>(
    facts: &[QueueFacts],
    settings: &Settings,
    pools: impl Iterator<Item = &'a WorkerPool>,
) -> BTreeMap<String, capacity::Wanted> {
    let pools: Vec<Pool> = pools
        .filter(|pool| pool.metadata.deletion_timestamp.is_none())
        .map(|pool| Pool::of(&pool.name_any(), &pool.spec))
        .collect();
    capacity::wanted(facts, &pools, &settings.lanes)
}

/// Keeps a copy of everything behind `api`, without the books that the API server keeps of it.
async fn copy<K>(api: kube::Api<K>, writer: Writer<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let mut changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .boxed();
    while let Some(change) = changes.next().await {
        if let Err(error) = change {
            tracing::debug!(%error, "watching for the metrics of autoscalers");
        }
    }
}
