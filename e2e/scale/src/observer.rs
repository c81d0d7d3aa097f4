//! Watches the operator's objects and counts every write to them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

/// Kind, namespace and name.
type Key = (String, String, String);

/// What the watches have delivered.
#[derive(Default)]
struct State {
    /// Resource version of each object.
    versions: HashMap<Key, String>,
    /// Replicas of each Deployment, with the time at which that number was first observed.
    replicas: HashMap<(String, String), (i64, Instant)>,
    /// Whether each pool is Ready for its current generation.
    ready: HashMap<(String, String), bool>,
    writes: u64,
    /// The last write.
    last: Option<(Key, Instant)>,
}

/// Observed state, kept up to date by watches. Cheap to clone.
#[derive(Clone, Default)]
pub struct Observer {
    state: Arc<Mutex<State>>,
}

impl Observer {
    /// Starts the watches.
    pub fn start(client: &Client) -> Self {
        let observer = Self::default();
        for kind in [
            ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk("switchyard.dev", "v1alpha1", "AnalyticsPlatform"),
                "analyticsplatforms",
            ),
            ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk("switchyard.dev", "v1alpha1", "WorkerPool"),
                "workerpools",
            ),
            ApiResource::erase::<Deployment>(&()),
            ApiResource::erase::<ConfigMap>(&()),
            ApiResource::erase::<Service>(&()),
            ApiResource::erase::<NetworkPolicy>(&()),
            ApiResource::erase::<PodDisruptionBudget>(&()),
        ] {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
            let config = if kind.group == "switchyard.dev" {
                watcher::Config::default()
            } else {
                watcher::Config::default().labels("app.kubernetes.io/managed-by=switchyard")
            };
            let observer = observer.clone();
            tokio::spawn(async move {
                let mut events = watcher(api, config).default_backoff().boxed();
                while let Ok(event) = events.try_next().await {
                    match event {
                        Some(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                            observer.record(&kind.kind, &object);
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
            });
        }
        observer
    }

    fn record(&self, kind: &str, object: &DynamicObject) {
        let name = (object.namespace().unwrap_or_default(), object.name_any());
        let key = (kind.to_owned(), name.0.clone(), name.1.clone());
        let version = object.resource_version().unwrap_or_default();
        let mut state = self.lock();
        if state.versions.insert(key.clone(), version.clone()).as_ref() != Some(&version) {
            state.writes += 1;
            state.last = Some((key, Instant::now()));
        }
        match kind {
            "WorkerPool" => {
                let ready = is_ready(object);
                state.ready.insert(name, ready);
            }
            "Deployment" => {
                let replicas = object.data["spec"]["replicas"].as_i64().unwrap_or(-1);
                if state.replicas.get(&name).is_none_or(|(known, _)| *known != replicas) {
                    state.replicas.insert(name, (replicas, Instant::now()));
                }
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Number of Ready pools.
    pub fn ready(&self) -> usize {
        self.lock().ready.values().filter(|ready| **ready).count()
    }

    /// When a Deployment was first observed with this number of replicas; `None` if it has another.
    pub fn replicas_since(&self, namespace: &str, name: &str, replicas: i64) -> Option<Instant> {
        let state = self.lock();
        let (known, since) = state.replicas.get(&(namespace.to_owned(), name.to_owned()))?;
        (*known == replicas).then_some(*since)
    }

    /// Number of writes to watched objects so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// The object of the last write.
    pub fn last_written(&self) -> Option<Key> {
        self.lock().last.as_ref().map(|(key, _)| key.clone())
    }

    /// Waits until there was no write for `silence`.
    ///
    /// # Errors
    /// Writes continue after `limit`.
    pub async fn wait_quiet(&self, silence: Duration, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while self.lock().last.as_ref().is_some_and(|(_, at)| at.elapsed() < silence) {
            if start.elapsed() > limit {
                bail!("writes do not stop, last {:?}", self.last_written());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| {
        condition["type"] == "Ready"
            && condition["status"] == "True"
            && condition["observedGeneration"].as_i64() == object.meta().generation
            && condition["observedGeneration"] != Value::Null
    })
}
