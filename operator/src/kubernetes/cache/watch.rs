//! Starts the watches that keep the cache up to date.

use std::{collections::BTreeSet, fmt::Debug};

use futures::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _, join_all},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::DynamicObject,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, store::Writer},
        watcher,
        watcher::Event,
    },
};

use crate::{
    kubernetes::{
        api::{scoped, scoped_dynamic},
        cache::{
            entry::{CachedObject, Key},
            kind_watch::{KindWatch, WatchSpec},
            store::{WatchCache, Writers},
            watched_kind::{Projection, WatchedKind, watched_kinds},
        },
    },
    spec::names::MANAGED_SELECTOR,
};

impl WatchCache {
    /// Keeps the objects of `namespace`, or of all namespaces, up to date for ever.
    pub async fn run(&self, client: &Client, namespace: Option<&str>, writers: Writers) {
        let Writers { platforms, pools } = writers;
        let mut watches: Vec<BoxFuture<'_, ()>> = vec![
            self.watch_custom_resource(scoped(client, namespace), platforms, CachedObject::of_platform).boxed(),
            self.watch_custom_resource(scoped(client, namespace), pools, CachedObject::of_pool).boxed(),
            self.watch_secrets(client, namespace).boxed(),
        ];
        watches.extend(watched_kinds().into_iter().map(|kind| self.watch_kind(client, namespace, kind).boxed()));
        join_all(watches).await;
    }

    async fn watch_custom_resource<K>(&self, api: Api<K>, mut writer: Writer<K>, to_cached: fn(&K) -> CachedObject)
    where
        K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let kind = K::kind(&()).into_owned();
        let store = writer.as_reader();
        let dependents = |event: &Event<K>| {
            let mut requests = BTreeSet::new();
            if let Event::Apply(object) | Event::InitApply(object) = event {
                // The index may know this generation already, from a write of the operator. A
                // reconcile that this write requested found the old object in the store, or none.
                let old = store.get(&ObjectRef::from_obj(object));
                if old.is_none_or(|old| old.meta().generation != object.meta().generation) {
                    let key = Key::of(&kind, object.meta());
                    requests = self.0.objects.lock().dependents(&key, &to_cached(object));
                }
            }
            writer.apply_watcher_event(event);
            requests
        };
        let spec = WatchSpec {
            kind: &kind,
            optional: false,
            events: Box::new(|| {
                let events = watcher(api.clone(), watcher::Config::default());
                events.modify(|object| object.managed_fields_mut().clear()).boxed()
            }),
            to_cached: Box::new(to_cached),
            dependents: Box::new(dependents),
        };
        KindWatch::new(self, spec).run().await;
    }

    async fn watch_kind(&self, client: &Client, namespace: Option<&str>, watched: WatchedKind) {
        let optional = watched.is_optional();
        let WatchedKind { resource, projection } = watched;
        let kind = resource.kind.as_str();
        let managed = watcher::Config::default().labels(MANAGED_SELECTOR);
        match projection {
            Projection::Whole => {
                let api: Api<DynamicObject> = scoped_dynamic(client, namespace, &resource);
                let spec = WatchSpec {
                    kind,
                    optional,
                    events: Box::new(|| watcher(api.clone(), managed.clone()).boxed()),
                    to_cached: Box::new(|object| CachedObject::of(kind, object)),
                    dependents: Box::new(|_| BTreeSet::new()),
                };
                KindWatch::new(self, spec).run().await;
            }
            Projection::Metadata => {
                let api: Api<PartialObjectMeta<DynamicObject>> = scoped_dynamic(client, namespace, &resource);
                let spec = WatchSpec {
                    kind,
                    optional,
                    events: Box::new(|| watcher(api.clone(), managed.clone()).boxed()),
                    to_cached: Box::new(|object| CachedObject::of_meta(&object.metadata)),
                    dependents: Box::new(|_| BTreeSet::new()),
                };
                KindWatch::new(self, spec).run().await;
            }
        }
    }

    /// Watches the metadata of every Secret. The values of a Secret are read when a platform refers
    /// to it.
    async fn watch_secrets(&self, client: &Client, namespace: Option<&str>) {
        let api: Api<PartialObjectMeta<Secret>> = scoped(client, namespace);
        let dependents = |event: &Event<PartialObjectMeta<Secret>>| match event {
            Event::Apply(secret) | Event::InitApply(secret) | Event::Delete(secret) => {
                let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
                let known = self.get("Secret", &namespace, &name);
                let is_deleted = matches!(event, Event::Delete(_));
                if is_deleted {
                    self.forget_secret(&namespace, &name);
                }
                let is_changed =
                    || known.is_none_or(|known| known.version != CachedObject::of_secret(&secret.metadata).version);
                if is_deleted || is_changed() { self.secret_users(&namespace, &name) } else { BTreeSet::new() }
            }
            Event::Init | Event::InitDone => BTreeSet::new(),
        };
        let spec = WatchSpec {
            kind: "Secret",
            optional: false,
            events: Box::new(|| watcher(api.clone(), watcher::Config::default()).boxed()),
            to_cached: Box::new(|secret: &PartialObjectMeta<Secret>| CachedObject::of_secret(&secret.metadata)),
            dependents: Box::new(dependents),
        };
        KindWatch::new(self, spec).run().await;
    }
}
