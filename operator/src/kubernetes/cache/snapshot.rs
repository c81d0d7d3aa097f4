//! A watch cache of one moment, without watches.

use std::fmt::Debug;

use kube::{
    Api, Client, Resource,
    api::{DynamicObject, ListParams},
    runtime::{reflector::store::Writer, watcher::Event},
};

use crate::{
    kubernetes::{
        api::{scoped, scoped_dynamic},
        cache::{
            entry::{CachedObject, Key},
            index::ChangeSource,
            store::WatchCache,
            watch_status::{WatchState, is_missing},
            watched_kind::{WatchedKind, watched_kinds},
        },
        error::Error,
    },
    spec::names::MANAGED_SELECTOR,
};

impl WatchCache {
    /// The objects of `namespace` as they are now, without Secrets.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn snapshot(client: &Client, namespace: &str) -> Result<Self, Error> {
        let (cache, mut writers) = Self::with(false);
        let platforms = list(&scoped(client, Some(namespace)), "AnalyticsPlatform").await?;
        let pools = list(&scoped(client, Some(namespace)), "WorkerPool").await?;
        fill(&mut writers.platforms, &platforms);
        fill(&mut writers.pools, &pools);
        cache.insert("AnalyticsPlatform", &platforms, CachedObject::of_platform);
        cache.insert("WorkerPool", &pools, CachedObject::of_pool);
        // No decision depends on ConfigMaps and Services.
        let kinds =
            watched_kinds().into_iter().filter(|kind| !matches!(kind.resource.kind.as_str(), "ConfigMap" | "Service"));
        for kind in kinds {
            cache.snapshot_kind(client, namespace, &kind).await?;
        }
        Ok(cache)
    }

    async fn snapshot_kind(&self, client: &Client, namespace: &str, watched: &WatchedKind) -> Result<(), Error> {
        let resource = &watched.resource;
        let kind = &resource.kind;
        let api: Api<DynamicObject> = scoped_dynamic(client, Some(namespace), resource);
        match api.list(&ListParams::default().labels(MANAGED_SELECTOR)).await {
            Ok(list) => {
                self.insert(kind, &list.items, |object| CachedObject::of(kind, object));
                self.set_state(kind, WatchState::Listed);
                Ok(())
            }
            Err(kube::Error::Api(status)) if watched.is_optional() && is_missing(status.code) => {
                self.set_state(kind, WatchState::Missing);
                Ok(())
            }
            Err(error) => Err(Error::of(format!("cannot list {}", resource.plural), error)),
        }
    }

    fn insert<K: Resource>(&self, kind: &str, items: &[K], to_cached: impl Fn(&K) -> CachedObject) {
        let mut objects = self.0.objects.lock();
        for object in items {
            objects.put(&Key::of(kind, object.meta()), to_cached(object), ChangeSource::Watch);
        }
    }
}

async fn list<K>(api: &Api<K>, kind: &str) -> Result<Vec<K>, Error>
where
    K: Resource + Clone + serde::de::DeserializeOwned + Debug,
{
    let list = api.list(&ListParams::default()).await;
    Ok(list.map_err(|error| Error::of(format!("cannot list objects of kind {kind}"), error))?.items)
}

fn fill<K: Resource<DynamicType = ()> + Clone + 'static>(writer: &mut Writer<K>, objects: &[K]) {
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(object.clone()));
    }
    writer.apply_watcher_event(&Event::InitDone);
}
