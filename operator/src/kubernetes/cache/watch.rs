//! Keeps the copies up to date.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use futures::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _, join_all},
    stream::BoxStream,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{ConfigMap, LimitRange, ResourceQuota, Secret, Service},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, store::Writer},
        watcher,
        watcher::Event,
    },
};
use rand::Rng as _;

use crate::{
    kubernetes::{
        api::{scoped, scoped_dynamic},
        cache::{
            entry::{CachedObject, Key},
            index::{ChangeSource, ReconcileRequest},
            store::{WatchCache, Writers, locked},
            watch_state::WatchState,
        },
        error::Error,
        kinds::optional_kinds,
    },
    resources::{http_route, pod_monitor, prometheus_rule, scaled_object},
    spec::names::MANAGED_SELECTOR,
};

/// Everything is listed anew after this long, in case a watch missed something.
const LIST_AGAIN: Duration = Duration::from_secs(3600);

/// After this long without an error a watch goes on. Longer than the longest pause between two tries.
const QUIET: Duration = Duration::from_secs(90);
/// So many refusals in a row are meant.
const REFUSED: u32 = 3;

/// How much of an object is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Metadata,
}

struct Kind {
    resource: ApiResource,
    part: Part,
}

impl Kind {
    /// Whether a cluster may do without it.
    fn is_optional(&self) -> bool {
        optional_kinds().contains(&self.resource)
    }
}

/// The kinds that the operator makes objects of.
fn kinds() -> Vec<Kind> {
    fn kind<K: Resource<DynamicType = ()>>(part: Part) -> Kind {
        Kind { resource: ApiResource::erase::<K>(&()), part }
    }
    vec![
        kind::<Deployment>(Part::Whole),
        kind::<StatefulSet>(Part::Whole),
        kind::<Job>(Part::Whole),
        kind::<HorizontalPodAutoscaler>(Part::Whole),
        kind::<ResourceQuota>(Part::Whole),
        kind::<ConfigMap>(Part::Metadata),
        kind::<Service>(Part::Metadata),
        kind::<LimitRange>(Part::Metadata),
        kind::<NetworkPolicy>(Part::Metadata),
        kind::<Ingress>(Part::Metadata),
        kind::<PodDisruptionBudget>(Part::Metadata),
        Kind { resource: http_route::resource(), part: Part::Metadata },
        Kind { resource: scaled_object::resource(), part: Part::Whole },
        Kind { resource: pod_monitor::resource(), part: Part::Metadata },
        Kind { resource: prometheus_rule::resource(), part: Part::Metadata },
    ]
}

impl WatchCache {
    /// Keeps the copies of the objects of `namespace`, or of all, for ever.
    pub async fn run(&self, client: &Client, namespace: Option<&str>, writers: Writers) {
        let Writers { platforms, pools } = writers;
        let mut watches: Vec<BoxFuture<'_, ()>> = vec![
            self.watch_custom_resource(scoped(client, namespace), platforms, CachedObject::of_platform).boxed(),
            self.watch_custom_resource(scoped(client, namespace), pools, CachedObject::of_pool).boxed(),
            self.watch_secrets(client, namespace).boxed(),
        ];
        watches.extend(kinds().into_iter().map(|kind| self.watch_kind(client, namespace, kind).boxed()));
        join_all(watches).await;
    }

    /// Copies of what there is in `namespace` now, without Secrets.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn snapshot(client: &Client, namespace: &str) -> Result<Self, Error> {
        let (cache, mut writers) = Self::with(false);
        let platforms = listed(&scoped(client, Some(namespace)), "AnalyticsPlatform").await?;
        let pools = listed(&scoped(client, Some(namespace)), "WorkerPool").await?;
        fill(&mut writers.platforms, &platforms);
        fill(&mut writers.pools, &pools);
        {
            let mut objects = locked(&cache.0.objects);
            for platform in &platforms {
                objects.put(
                    &Key::of("AnalyticsPlatform", &platform.metadata),
                    CachedObject::of_platform(platform),
                    ChangeSource::Watch,
                );
            }
            for pool in &pools {
                objects.put(&Key::of("WorkerPool", &pool.metadata), CachedObject::of_pool(pool), ChangeSource::Watch);
            }
        }
        // Of these two nothing follows.
        for watched in
            kinds().into_iter().filter(|kind| !matches!(kind.resource.kind.as_str(), "ConfigMap" | "Service"))
        {
            let optional = watched.is_optional();
            let resource = watched.resource;
            let kind = resource.kind.clone();
            let api: Api<DynamicObject> = scoped_dynamic(client, Some(namespace), &resource);
            let state = match api.list(&ListParams::default().labels(MANAGED_SELECTOR)).await {
                Ok(list) => {
                    let mut objects = locked(&cache.0.objects);
                    for object in &list.items {
                        objects.put(
                            &Key::of(&kind, &object.metadata),
                            CachedObject::of(&kind, object),
                            ChangeSource::Watch,
                        );
                    }
                    WatchState::Listed
                }
                Err(kube::Error::Api(status)) if optional && is_missing(status.code) => WatchState::Missing,
                Err(error) => return Err(Error::of(format!("cannot list {}", resource.plural), error)),
            };
            cache.0.states.send_modify(|states| {
                states.insert(kind, state);
            });
        }
        Ok(cache)
    }

    async fn watch_custom_resource<K>(&self, api: Api<K>, mut writer: Writer<K>, to_cached: fn(&K) -> CachedObject)
    where
        K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let kind = K::kind(&()).into_owned();
        let events = || {
            let events = watcher(api.clone(), watcher::Config::default());
            events.modify(|object| object.managed_fields_mut().clear()).boxed()
        };
        let store = writer.as_reader();
        let run = |event: &Event<K>| {
            let mut requests = BTreeSet::new();
            if let Event::Apply(object) | Event::InitApply(object) = event {
                // Whoever was told of the operator's own write found the old one here, or none.
                let old = store.get(&ObjectRef::from_obj(object));
                if old.is_none_or(|old| old.meta().generation != object.meta().generation) {
                    requests = locked(&self.0.objects).dependents(&Key::of(&kind, object.meta()), &to_cached(object));
                }
            }
            writer.apply_watcher_event(event);
            requests
        };
        self.follow(&kind, false, events, to_cached, run).await;
    }

    async fn watch_kind(&self, client: &Client, namespace: Option<&str>, kind: Kind) {
        let optional = kind.is_optional();
        let Kind { resource, part } = kind;
        let ours = watcher::Config::default().labels(MANAGED_SELECTOR);
        let name = resource.kind.clone();
        match part {
            Part::Whole => {
                let api: Api<DynamicObject> = scoped_dynamic(client, namespace, &resource);
                let events = || watcher(api.clone(), ours.clone()).boxed();
                self.follow(&name, optional, events, |object| CachedObject::of(&name, object), |_| BTreeSet::new())
                    .await;
            }
            Part::Metadata => {
                let api: Api<PartialObjectMeta<DynamicObject>> = scoped_dynamic(client, namespace, &resource);
                let events = || watcher(api.clone(), ours.clone()).boxed();
                self.follow(
                    &name,
                    optional,
                    events,
                    |object| CachedObject::of_meta(&object.metadata),
                    |_| BTreeSet::new(),
                )
                .await;
            }
        }
    }

    /// Of every Secret that it exists, in which version, and nothing else: its values are read when a platform names it.
    async fn watch_secrets(&self, client: &Client, namespace: Option<&str>) {
        let api: Api<PartialObjectMeta<Secret>> = scoped(client, namespace);
        let events = || watcher(api.clone(), watcher::Config::default()).boxed();
        let changed = |event: &Event<PartialObjectMeta<Secret>>| match event {
            Event::Apply(secret) | Event::InitApply(secret) | Event::Delete(secret) => {
                let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
                let known = self.get("Secret", &namespace, &name);
                let is_gone = matches!(event, Event::Delete(_));
                if is_gone {
                    locked(&self.0.values).remove(&(namespace.clone(), name.clone()));
                }
                let is_news =
                    || known.is_none_or(|known| known.version != CachedObject::of_secret(&secret.metadata).version);
                if is_gone || is_news() { self.secret_users(&namespace, &name) } else { BTreeSet::new() }
            }
            Event::Init | Event::InitDone => BTreeSet::new(),
        };
        self.follow("Secret", false, events, |secret| CachedObject::of_secret(&secret.metadata), changed).await;
    }

    /// Follows a kind for ever. `also` is asked for those whom an event concerns besides the object's owners, before the event is taken in.
    async fn follow<K: ResourceExt>(
        &self,
        kind: &str,
        optional: bool,
        events: impl Fn() -> BoxStream<'static, watcher::Result<Event<K>>>,
        to_cached: impl Fn(&K) -> CachedObject,
        mut also: impl FnMut(&Event<K>) -> BTreeSet<ReconcileRequest>,
    ) {
        self.set(kind, WatchState::Unlisted);
        let mut resyncs = self.0.resyncs.subscribe();
        // Nobody is told in the middle of a list: it would be looked at in the light of half of it.
        let mut waiting = BTreeSet::new();
        loop {
            let resync_number = *resyncs.borrow_and_update();
            // Not all of them at one moment.
            let again = LIST_AGAIN.mul_f64(rand::rng().random_range(1.0..1.1));
            let mut events = events().take_until(Box::pin(tokio::time::sleep(again)));
            let mut errors = 0;
            loop {
                let event = tokio::select! {
                    event = tokio::time::timeout(QUIET, events.next()) => event,
                    _ = resyncs.changed() => break,
                };
                match event {
                    Ok(None) => break,
                    // A watch that goes on says nothing.
                    Err(_) => {
                        errors = 0;
                        self.recovered(kind);
                    }
                    Ok(Some(Ok(event))) => {
                        let ends = matches!(event, Event::InitDone);
                        let whole = ends || matches!(event, Event::Apply(_) | Event::Delete(_));
                        waiting.extend(also(&event));
                        waiting.extend(self.handle_event(kind, event, &to_cached));
                        if whole {
                            errors = 0;
                            self.enqueue(std::mem::take(&mut waiting));
                            self.set(kind, WatchState::Listed);
                        }
                        if ends {
                            self.answered(kind, resync_number);
                        }
                    }
                    Ok(Some(Err(error))) => {
                        errors += 1;
                        self.fail(kind, optional, &error, errors);
                        self.answered(kind, resync_number);
                        // Whether a kind is really away a list will tell.
                        let ask = optional
                            && matches!(&error, watcher::Error::WatchStartFailed(error) if is_missing(code_of(error)));
                        tokio::select! {
                            () = tokio::time::sleep(pause(if ask { errors.max(4) } else { errors })) => {}
                            _ = resyncs.changed() => break,
                        }
                        if ask {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn handle_event<K: ResourceExt>(
        &self,
        kind: &str,
        event: Event<K>,
        to_cached: impl Fn(&K) -> CachedObject,
    ) -> BTreeSet<ReconcileRequest> {
        let key = |object: &K| Key::of(kind, object.meta());
        let mut objects = locked(&self.0.objects);
        match event {
            Event::Init => {
                objects.begin(kind);
                BTreeSet::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                objects.put(&key(&object), to_cached(&object), ChangeSource::Watch)
            }
            Event::Delete(object) => objects.remove(&key(&object), &to_cached(&object)),
            Event::InitDone => {
                let (gone, mut requests) = objects.end(kind);
                drop(objects);
                for key in gone.into_iter().filter(|key| key.kind == "Secret") {
                    requests.extend(self.secret_users(&key.namespace, &key.name));
                    locked(&self.0.values).remove(&(key.namespace, key.name));
                }
                requests
            }
        }
    }

    /// Those who waited for a kind to be known, or known again, have to look anew.
    fn set(&self, kind: &str, state: WatchState) {
        let mut new = false;
        self.0.states.send_if_modified(|states| {
            let before = states.get(kind);
            if before == Some(&state) {
                return false;
            }
            new = before.is_some_and(|before| *before != WatchState::Unlisted);
            states.insert(kind.to_owned(), state);
            true
        });
        if new {
            let all_requests = locked(&self.0.objects).all_requests();
            self.enqueue(all_requests);
        }
    }

    /// Nothing has gone wrong for a while: a watch that could not be begun has been.
    fn recovered(&self, kind: &str) {
        if matches!(self.0.states.borrow().get(kind), Some(WatchState::Failing { listed: true, .. })) {
            self.set(kind, WatchState::Listed);
        }
    }

    /// The `errors`th error in a row.
    fn fail(&self, kind: &str, optional: bool, error: &watcher::Error, errors: u32) {
        tracing::debug!(kind, %error, "watching");
        let (code, listing) = match error {
            watcher::Error::InitialListFailed(error) => (code_of(error), true),
            watcher::Error::WatchStartFailed(error) => (code_of(error), false),
            _ => (0, false),
        };
        if optional && is_missing(code) {
            if listing {
                let gone = {
                    let mut objects = locked(&self.0.objects);
                    objects.begin(kind);
                    objects.end(kind).1
                };
                self.set(kind, WatchState::Missing);
                self.enqueue(gone);
            }
            return;
        }
        if self.0.states.borrow().get(kind) == Some(&WatchState::Missing) {
            // It is looked for again and again, and that nobody answers does not bring it there.
            return;
        }
        let refused = match code {
            403 => Some("Forbidden"),
            400 | 401 | 404 | 405 | 422 => Some("Refused"),
            _ => None,
        };
        let listed = matches!(
            self.0.states.borrow().get(kind),
            Some(WatchState::Listed | WatchState::Failing { listed: true, .. })
        );
        // What was known stays known while the API server does not answer, and while it may be of two minds.
        if !listed || (refused.is_some() && errors >= REFUSED) {
            self.set(kind, WatchState::Failing { listed, refused, words: words(error) });
        }
    }
}

/// Whether this is the answer about a kind that a cluster does without. Who has no rights to it is refused before anybody finds out that there is none.
const fn is_missing(code: u16) -> bool {
    matches!(code, 403 | 404)
}

/// How long to wait after so many errors in a row: about a second, doubled with each, up to half a minute. The watcher's own would begin anew with each list.
fn pause(errors: u32) -> Duration {
    let second = Duration::from_millis(800).mul_f64(rand::rng().random_range(1.0..1.25));
    (second * (1 << errors.saturating_sub(1).min(6))).min(Duration::from_secs(30))
}

const fn code_of(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// The API server's own words, where there are some.
fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.message.clone(),
        other => other.to_string(),
    }
}

async fn listed<K>(api: &Api<K>, kind: &str) -> Result<Vec<K>, Error>
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
