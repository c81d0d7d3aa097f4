//! The watch cache: what the operator knows of the cluster without an API call.
//!
//! Watches keep the objects up to date. The operator also enters the result of each of its own
//! writes, so a reconcile never acts on a state from before its last write. Every instance keeps a
//! cache, standbys too, so a new leader starts with a warm one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    ResourceExt,
    api::ApiResource,
    runtime::reflector::{ObjectRef, Store, store, store::Writer},
};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    crd::{AnalyticsPlatform, AnalyticsPlatformStatus, WorkerPool, WorkerPoolStatus},
    kubernetes::{
        cache::{
            entry::{CachedObject, Key, ObservedState},
            index::{ChangeSource, ObjectIndex},
            reconcile_request::ReconcileRequest,
            watch_status::{WatchState, WatchStatus},
        },
        error::Error,
        kinds::optional_kinds,
        prune::ObjectId,
    },
    resources::owner::Owner,
    spec::secrets::{Values, secrets_of},
};

/// The watch cache. Clones share it.
#[derive(Clone)]
pub struct WatchCache(pub(super) Arc<Inner>);

pub(super) struct Inner {
    platforms: Store<AnalyticsPlatform>,
    pools: Store<WorkerPool>,
    pub(super) objects: Mutex<ObjectIndex>,
    secrets: Mutex<SecretValues>,
    pub(super) watches: watch::Sender<WatchStatuses>,
    /// Whether watches keep the cache up to date. Otherwise it is a snapshot.
    is_live: bool,
    /// The controllers of this instance, while it leads.
    subscriber: Mutex<Option<Subscriber>>,
}

/// By kind.
pub(super) type WatchStatuses = BTreeMap<String, WatchStatus>;

/// Values of Secrets with the resourceVersion that they belong to, by namespace and name.
type SecretValues = HashMap<(String, String), (u64, Arc<Values>)>;

struct Subscriber {
    platforms: mpsc::UnboundedSender<ObjectRef<AnalyticsPlatform>>,
    pools: mpsc::UnboundedSender<ObjectRef<WorkerPool>>,
}

/// Write access to the stores of platforms and pools.
pub struct Writers {
    pub(super) platforms: Writer<AnalyticsPlatform>,
    pub(super) pools: Writer<WorkerPool>,
}

impl WatchCache {
    /// An empty cache. Pass the writers to [`Self::run`], which fills it.
    pub fn new() -> (Self, Writers) {
        Self::with(true)
    }

    pub(super) fn with(is_live: bool) -> (Self, Writers) {
        let ((platforms, platform_writer), (pools, pool_writer)) = (store(), store());
        let inner = Inner {
            platforms,
            pools,
            objects: Mutex::default(),
            secrets: Mutex::default(),
            watches: watch::Sender::default(),
            is_live,
            subscriber: Mutex::default(),
        };
        (Self(Arc::new(inner)), Writers { platforms: platform_writer, pools: pool_writer })
    }

    /// All platforms.
    pub fn platforms(&self) -> &Store<AnalyticsPlatform> {
        &self.0.platforms
    }

    /// All pools.
    pub fn pools(&self) -> &Store<WorkerPool> {
        &self.0.pools
    }

    /// A platform.
    pub fn platform(&self, namespace: &str, name: &str) -> Option<Arc<AnalyticsPlatform>> {
        self.0.platforms.get(&ObjectRef::new(name).within(namespace))
    }

    /// A pool.
    pub fn pool(&self, namespace: &str, name: &str) -> Option<Arc<WorkerPool>> {
        self.0.pools.get(&ObjectRef::new(name).within(namespace))
    }

    /// The pools that refer to a platform, sorted by name. Includes pools that a user created.
    pub fn pools_of(&self, namespace: &str, platform: &str) -> Vec<WorkerPool> {
        let mut all: Vec<WorkerPool> = self
            .0
            .pools
            .state()
            .iter()
            .filter(|pool| pool.namespace().as_deref() == Some(namespace) && pool.spec.platform_ref.name == platform)
            .map(|pool| WorkerPool::clone(pool))
            .collect();
        all.sort_by_cached_key(ResourceExt::name_any);
        all
    }

    /// The last known status of a platform, own writes included.
    pub fn platform_status(&self, namespace: &str, name: &str) -> Option<AnalyticsPlatformStatus> {
        match &self.get("AnalyticsPlatform", namespace, name)?.state {
            ObservedState::Platform(status) => status.as_deref().cloned(),
            _ => None,
        }
    }

    /// The last known status of a pool, own writes included.
    pub fn pool_status(&self, namespace: &str, name: &str) -> Option<WorkerPoolStatus> {
        match &self.get("WorkerPool", namespace, name)?.state {
            ObservedState::Pool { status, .. } => status.as_deref().cloned(),
            _ => None,
        }
    }

    /// An object that carries the operator's label, a Secret or a custom resource.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<CachedObject>> {
        let key = Key { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        self.0.objects.lock().get(&key)
    }

    /// The objects of `kind` in `namespace` with a label: name, object, and time of the last
    /// change of its state.
    pub fn labelled(
        &self,
        kind: &str,
        namespace: &str,
        label: (&str, &str),
    ) -> Vec<(String, Arc<CachedObject>, Instant)> {
        self.0
            .objects
            .lock()
            .of_kind(kind, namespace)
            .filter(|(_, object, _)| object.label(label.0) == Some(label.1))
            .map(|(name, object, changed_at)| (name.to_owned(), object.clone(), changed_at))
            .collect()
    }

    /// The objects of these kinds that belong to `owner`.
    pub fn owned(&self, owner: &Owner, kinds: &[ApiResource]) -> Vec<ObjectId> {
        let objects = self.0.objects.lock();
        let mut all = Vec::new();
        for kind in kinds {
            let of_kind = objects.of_kind(&kind.kind, &owner.namespace);
            all.extend(of_kind.filter(|(_, object, _)| owner.is_of(&object.meta)).map(|(name, object, _)| ObjectId {
                resource: kind.clone(),
                name: name.to_owned(),
                uid: object.meta.uid.clone().unwrap_or_default(),
            }));
        }
        all
    }

    /// The optional kinds that the cluster does not serve.
    pub fn missing_kinds(&self) -> Vec<ApiResource> {
        let is_missing = |kind: &ApiResource| self.state(&kind.kind) == Some(WatchState::Missing);
        optional_kinds().into_iter().filter(is_missing).collect()
    }

    /// Checks that no watch is failing.
    ///
    /// # Errors
    /// With the reason and the message of the API server if a kind cannot be watched.
    pub fn check_watches(&self) -> Result<(), Error> {
        let statuses = self.0.watches.borrow();
        let failing = statuses.iter().find_map(|(kind, status)| match &status.state {
            WatchState::Failing { refused, message, .. } => Some((kind, *refused, message.clone())),
            WatchState::Unlisted | WatchState::Listed | WatchState::Missing => None,
        });
        let Some((kind, refused, message)) = failing else { return Ok(()) };
        let action = format!("cannot watch objects of kind {kind}");
        Err(match refused {
            Some(reason) => Error::Refused { action, reason, message },
            None => Error::Unavailable { action, message },
        })
    }

    /// Waits until the first list of every kind has ended, with all objects or with an error.
    pub async fn initial_sync(&self) {
        let is_over = |statuses: &WatchStatuses| {
            !statuses.is_empty() && statuses.values().all(|status| status.state != WatchState::Unlisted)
        };
        // The cache owns the sender, so the channel is open.
        let _ = self.0.watches.subscribe().wait_for(is_over).await;
    }

    /// Lists every kind again, and waits until all have answered, with all objects or with an
    /// error.
    ///
    /// A new leader calls it first. A watch that receives nothing does not notice, so the cache of
    /// a standby may be out of date.
    pub async fn resync(&self) {
        self.initial_sync().await;
        self.0.watches.send_modify(|statuses| statuses.values_mut().for_each(|status| status.requested_resync += 1));
        let is_resynced = |statuses: &WatchStatuses| statuses.values().all(WatchStatus::is_resynced);
        // The cache owns the sender, so the channel is open.
        let _ = self.0.watches.subscribe().wait_for(is_resynced).await;
    }

    pub(super) fn answer_resync(&self, kind: &str, number: u64) {
        self.0.watches.send_if_modified(|statuses| {
            let status = statuses.entry(kind.to_owned()).or_default();
            std::mem::replace(&mut status.answered_resync, number) != number
        });
    }

    pub(super) fn state(&self, kind: &str) -> Option<WatchState> {
        self.0.watches.borrow().get(kind).map(|status| status.state.clone())
    }

    /// Sets the state of a watch. Every custom resource is reconciled if that changes a state after
    /// the first list, since reconciles may have waited for it.
    pub(super) fn set_state(&self, kind: &str, state: WatchState) {
        let mut is_transition = false;
        self.0.watches.send_if_modified(|statuses| {
            let Some(status) = statuses.get_mut(kind) else {
                statuses.insert(kind.to_owned(), WatchStatus { state, ..WatchStatus::default() });
                return true;
            };
            if status.state == state {
                return false;
            }
            is_transition = status.state != WatchState::Unlisted;
            status.state = state;
            true
        });
        if is_transition {
            let all_requests = self.0.objects.lock().all_requests();
            self.enqueue(all_requests);
        }
    }

    /// Subscribes the controllers of a new leader. Begins with every custom resource.
    ///
    /// Replaces the subscription before.
    pub fn subscribe(
        &self,
    ) -> (
        impl Stream<Item = ObjectRef<AnalyticsPlatform>> + Send + use<>,
        impl Stream<Item = ObjectRef<WorkerPool>> + Send + use<>,
    ) {
        let ((platforms, platform_stream), (pools, pool_stream)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        *self.0.subscriber.lock() = Some(Subscriber { platforms, pools });
        let all_requests = self.0.objects.lock().all_requests();
        self.enqueue(all_requests);
        (into_stream(platform_stream), into_stream(pool_stream))
    }

    /// Reconciles a platform.
    pub fn enqueue_platform(&self, namespace: &str, name: &str) {
        self.enqueue([ReconcileRequest::platform(namespace, name)].into());
    }

    /// Reconciles pools of one namespace.
    pub fn enqueue_pools<'a>(&self, namespace: &str, names: impl Iterator<Item = &'a String>) {
        self.enqueue(names.map(|name| ReconcileRequest::pool(namespace, name)).collect());
    }

    pub(super) fn enqueue(&self, requests: BTreeSet<ReconcileRequest>) {
        let subscriber = self.0.subscriber.lock();
        let Some(subscriber) = subscriber.as_ref() else { return };
        for request in requests {
            // Sending fails after this instance has lost leadership, when nothing needs the
            // request.
            match request {
                ReconcileRequest::Platform { namespace, name } => {
                    let _ = subscriber.platforms.send(ObjectRef::new(&name).within(&namespace));
                }
                ReconcileRequest::Pool { namespace, name } => {
                    let _ = subscriber.pools.send(ObjectRef::new(&name).within(&namespace));
                }
            }
        }
    }

    /// Whether the object is as the last apply of a manifest with this digest and metadata left it.
    pub fn is_as_applied(&self, key: &Key, digest: &str, meta: &ObjectMeta) -> bool {
        self.0.objects.lock().is_as_applied(key, digest, meta)
    }

    /// Records the result of applying a manifest with this digest.
    pub fn record_apply(&self, key: &Key, digest: &str, result: CachedObject) {
        let requests = self.0.objects.lock().record_apply(key, digest, result);
        self.enqueue(requests);
    }

    /// Records the result of any other write of the operator.
    pub fn record_write(&self, key: &Key, result: CachedObject) {
        let requests = self.0.objects.lock().put(key, result, ChangeSource::OwnWrite);
        self.enqueue(requests);
    }

    /// The values of a Secret, if they are known in their current version.
    pub fn secret(&self, namespace: &str, name: &str) -> Secret {
        if !self.0.is_live {
            return Secret::Unknown;
        }
        let Some(object) = self.get("Secret", namespace, name) else { return Secret::Missing };
        let secrets = self.0.secrets.lock();
        match secrets.get(&(namespace.to_owned(), name.to_owned())) {
            Some((version, values)) if *version >= object.version => Secret::Known(values.clone()),
            _ => Secret::Unknown,
        }
    }

    /// Records the values of a Secret that were read in `version`.
    pub fn record_secret(&self, namespace: &str, name: &str, version: u64, values: Arc<Values>) {
        self.0.secrets.lock().insert((namespace.to_owned(), name.to_owned()), (version, values));
    }

    pub(super) fn forget_secret(&self, namespace: &str, name: &str) {
        self.0.secrets.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Requests for the platforms that use a Secret, and for their pools.
    pub(super) fn secret_users(&self, namespace: &str, secret: &str) -> BTreeSet<ReconcileRequest> {
        let objects = self.0.objects.lock();
        let platforms = self.0.platforms.state();
        let users = platforms.iter().filter(|platform| {
            platform.namespace().as_deref() == Some(namespace) && secrets_of(platform).contains(secret)
        });
        let mut requests = BTreeSet::new();
        for platform in users {
            let name = platform.name_any();
            requests.extend(objects.pools_of(namespace, &name));
            requests.insert(ReconcileRequest::platform(namespace, &name));
        }
        requests
    }
}

/// What the cache knows of a Secret.
pub enum Secret {
    Missing,
    Known(Arc<Values>),
    /// The values have to be read from the API server.
    Unknown,
}

fn into_stream<T: Send + 'static>(receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> + Send {
    futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}
