//! Watches what the operator makes, and counts every write to it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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
use serde_json::Value;

type Key = (String, String, String);

#[derive(Default)]
struct Seen {
    /// Resource version of each object that was seen.
    versions: HashMap<Key, String>,
    /// Replicas of Deployments, with the moment at which they were first seen to be so many.
    replicas: HashMap<(String, String), (i64, Instant)>,
    /// Pools that say that they are Ready, for the generation that they are of.
    ready: HashMap<(String, String), bool>,
    writes: u64,
    last: Option<(Key, Instant)>,
}

/// A copy of what matters, kept by watches. Cheap to clone.
#[derive(Clone, Default)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
}

impl Observer {
    /// Watches from now on.
    pub async fn start(client: &Client) -> Result<Self> {
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
            let ours = if kind.group == "switchyard.dev" {
                watcher::Config::default()
            } else {
                watcher::Config::default().labels("app.kubernetes.io/managed-by=switchyard")
            };
            let observer = observer.clone();
            tokio::spawn(async move {
                let mut events = watcher(api, ours).default_backoff().boxed();
                while let Ok(event) = events.try_next().await {
                    match event {
                        Some(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                            observer.see(&kind.kind, &object)
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
            });
        }
        Ok(observer)
    }

    fn see(&self, kind: &str, object: &DynamicObject) {
        let name = (object.namespace().unwrap_or_default(), object.name_any());
        let key = (kind.to_owned(), name.0.clone(), name.1.clone());
        let version = object.resource_version().unwrap_or_default();
        let mut seen = self.lock();
        if seen.versions.insert(key.clone(), version.clone()).as_ref() != Some(&version) {
            seen.writes += 1;
            seen.last = Some((key, Instant::now()));
        }
        match kind {
            "WorkerPool" => {
                let ready = is_ready(object);
                seen.ready.insert(name, ready);
            }
            "Deployment" => {
                let replicas = object.data["spec"]["replicas"].as_i64().unwrap_or(-1);
                if seen.replicas.get(&name).is_none_or(|(known, _)| *known != replicas) {
                    seen.replicas.insert(name, (replicas, Instant::now()));
                }
            }
            _ => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pools that are Ready.
    pub fn ready(&self) -> usize {
        self.lock().ready.values().filter(|ready| **ready).count()
    }

    /// Since when a Deployment is known to have so many replicas, if it has.
    pub fn replicas_since(&self, namespace: &str, name: &str, replicas: i64) -> Option<Instant> {
        let seen = self.lock();
        let (known, since) = seen.replicas.get(&(namespace.to_owned(), name.to_owned()))?;
        (*known == replicas).then_some(*since)
    }

    /// Writes so far, to anything that is watched.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// What was written last.
    pub fn last_written(&self) -> Option<Key> {
        self.lock().last.as_ref().map(|(key, _)| key.clone())
    }

    /// Waits until nothing has been written for so long.
    pub async fn quiet(&self, silence: Duration, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.lock().last.as_ref().is_some_and(|(_, at)| at.elapsed() < silence) {
            if begun.elapsed() > limit {
                bail!("something is written all the time, last {:?}", self.last_written());
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
