//! What the operator knows of the cluster without asking: copies that watches keep up to date, and that its own writes are added to at once, so that
//! it never acts on a state from before its last write.
//!
//! Every instance keeps them, the standbys too: whoever takes over knows everything already.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    ResourceExt,
    api::ApiResource,
    runtime::reflector::{ObjectRef, Store, store, store::Writer},
};
use tokio::{
    sync::{mpsc, watch as signal},
    time::Instant,
};

use crate::{
    crd::{AnalyticsPlatform, AnalyticsPlatformStatus, WorkerPool, WorkerPoolStatus},
    kubernetes::{
        cache::{
            entry::{CachedObject, Key, ObservedState},
            index::{ChangeSource, ObjectIndex, ReconcileRequest},
            watch_state::WatchState,
        },
        error::Error,
        kinds::optional_kinds,
        prune::ObjectId,
    },
    resources::owner::Owner,
    spec::secrets::{Values, secrets_of},
};

/// The copies; clones are the same ones.
#[derive(Clone)]
pub struct WatchCache(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) platforms: Store<AnalyticsPlatform>,
    pub(super) pools: Store<WorkerPool>,
    pub(super) objects: Mutex<ObjectIndex>,
    pub(super) values: Mutex<Read>,
    /// How far the watch of each kind has come.
    pub(super) states: signal::Sender<BTreeMap<String, WatchState>>,
    /// Counts the times that everything is to be listed anew.
    pub(super) resyncs: signal::Sender<u64>,
    /// By kind, the last of them to which a list has come to an end, be it a bad one.
    pub(super) answered: signal::Sender<BTreeMap<String, u64>>,
    /// Whether watches keep the copies, or they are of one moment.
    pub(super) is_live: bool,
    /// The controllers of this instance, while it leads.
    pub(super) subscriber: Mutex<Option<Subscriber>>,
}

/// By namespace and name: the values of Secrets that were asked for, with the version that they are of.
pub(super) type Read = HashMap<(String, String), (u64, Arc<Values>)>;

pub(super) struct Subscriber {
    platforms: mpsc::UnboundedSender<ObjectRef<AnalyticsPlatform>>,
    pools: mpsc::UnboundedSender<ObjectRef<WorkerPool>>,
}

/// The sides of the copies of platforms and pools that are written to.
pub struct Writers {
    pub(super) platforms: Writer<AnalyticsPlatform>,
    pub(super) pools: Writer<WorkerPool>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WatchCache {
    /// Nothing seen yet. [`Self::run`] fills and keeps them with what writes.
    pub fn new() -> (Self, Writers) {
        Self::with(true)
    }

    pub(super) fn with(is_live: bool) -> (Self, Writers) {
        let ((platforms, platform_writer), (pools, pool_writer)) = (store(), store());
        let inner = Inner {
            platforms,
            pools,
            objects: Mutex::default(),
            values: Mutex::default(),
            states: signal::Sender::default(),
            resyncs: signal::Sender::default(),
            answered: signal::Sender::default(),
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

    /// The pools that name a platform, the user's own included, by name.
    pub fn pools_of(&self, namespace: &str, platform: &str) -> Vec<WorkerPool> {
        let mut all: Vec<WorkerPool> = self
            .0
            .pools
            .state()
            .iter()
            .filter(|pool| pool.namespace().as_deref() == Some(namespace) && pool.spec.platform_ref.name == platform)
            .map(|pool| WorkerPool::clone(pool))
            .collect();
        all.sort_by_cached_key(|pool| pool.name_any());
        all
    }

    /// The status of a platform, as it was last written.
    pub fn platform_status(&self, namespace: &str, name: &str) -> Option<AnalyticsPlatformStatus> {
        match &self.get("AnalyticsPlatform", namespace, name)?.state {
            ObservedState::Platform(status) => status.as_deref().cloned(),
            _ => None,
        }
    }

    /// The status of a pool, as it was last written.
    pub fn pool_status(&self, namespace: &str, name: &str) -> Option<WorkerPoolStatus> {
        match &self.get("WorkerPool", namespace, name)?.state {
            ObservedState::Pool { status, .. } => status.as_deref().cloned(),
            _ => None,
        }
    }

    /// An object that the operator made, or a custom resource.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<CachedObject>> {
        let key = Key { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        locked(&self.0.objects).get(&key)
    }

    /// Everything of `kind` in `namespace` with a label, with its name and the time since which its state has been as it is.
    pub fn labelled(
        &self,
        kind: &str,
        namespace: &str,
        label: (&str, &str),
    ) -> Vec<(String, Arc<CachedObject>, Instant)> {
        locked(&self.0.objects)
            .of_kind(kind, namespace)
            .filter(|(_, object, _)| object.label(label.0) == Some(label.1))
            .map(|(name, object, changed_at)| (name.to_owned(), object.clone(), changed_at))
            .collect()
    }

    /// Every object of these kinds that belongs to `owner`.
    pub fn owned(&self, owner: &Owner, kinds: &[ApiResource]) -> Vec<ObjectId> {
        let objects = locked(&self.0.objects);
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

    /// The kinds that the cluster does not know, of those that it need not know.
    pub fn missing(&self) -> Vec<ApiResource> {
        let states = self.0.states.borrow();
        optional_kinds().into_iter().filter(|kind| states.get(&kind.kind) == Some(&WatchState::Missing)).collect()
    }

    /// Whether everything is known that is to be known.
    ///
    /// # Errors
    /// When something cannot be watched.
    pub fn check(&self) -> Result<(), Error> {
        let states = self.0.states.borrow();
        let found = states.iter().find_map(|(kind, state)| match state {
            WatchState::Failing { refused, words, .. } => Some((kind, *refused, words.clone())),
            WatchState::Unlisted | WatchState::Listed | WatchState::Missing => None,
        });
        let Some((kind, refused, words)) = found else { return Ok(()) };
        let what = format!("cannot watch objects of kind {kind}");
        Err(match refused {
            Some(reason) => Error::Refused { what, reason, words },
            None => Error::Unseen { what, words },
        })
    }

    /// Waits until the first look at every kind has come to an end, be it a bad one.
    pub async fn initial_sync(&self) {
        let mut states = self.0.states.subscribe();
        let over = |states: &BTreeMap<String, WatchState>| {
            !states.is_empty() && states.values().all(|state| *state != WatchState::Unlisted)
        };
        // The sender is ours: it does not go away.
        let _ = states.wait_for(over).await;
    }

    /// Has everything listed anew, and waits for it: a watch that stands still does not say so, and whoever takes over must not go by what was.
    pub async fn resync(&self) {
        self.initial_sync().await;
        self.0.resyncs.send_modify(|resync_number| *resync_number += 1);
        let resync_number = *self.0.resyncs.borrow();
        let mut answered = self.0.answered.subscribe();
        // The sender is ours: it does not go away.
        let _ = answered.wait_for(|all| all.values().all(|last| *last >= resync_number)).await;
    }

    pub(super) fn answered(&self, kind: &str, resync_number: u64) {
        self.0.answered.send_if_modified(|all| all.insert(kind.to_owned(), resync_number) != Some(resync_number));
    }

    /// Begins to lead: what has to be looked at, from now on, beginning with everything there is.
    pub fn subscribe(
        &self,
    ) -> (
        impl Stream<Item = ObjectRef<AnalyticsPlatform>> + Send + use<>,
        impl Stream<Item = ObjectRef<WorkerPool>> + Send + use<>,
    ) {
        let ((platforms, platform_stream), (pools, pool_stream)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        *locked(&self.0.subscriber) = Some(Subscriber { platforms, pools });
        let all_requests = locked(&self.0.objects).all_requests();
        self.enqueue(all_requests);
        (streamed(platform_stream), streamed(pool_stream))
    }

    /// Has a platform looked at.
    pub fn enqueue_platform(&self, namespace: &str, name: &str) {
        self.enqueue([ReconcileRequest::Platform { namespace: namespace.to_owned(), name: name.to_owned() }].into());
    }

    /// Has pools of one namespace looked at.
    pub fn enqueue_pools<'a>(&self, namespace: &str, names: impl Iterator<Item = &'a String>) {
        self.enqueue(
            names.map(|name| ReconcileRequest::Pool { namespace: namespace.to_owned(), name: name.clone() }).collect(),
        );
    }

    pub(super) fn enqueue(&self, requests: BTreeSet<ReconcileRequest>) {
        let subscriber = locked(&self.0.subscriber);
        let Some(subscriber) = subscriber.as_ref() else { return };
        for one in requests {
            // Nobody may be there any more, between two times of leading.
            match one {
                ReconcileRequest::Platform { namespace, name } => {
                    let _ = subscriber.platforms.send(ObjectRef::new(&name).within(&namespace));
                }
                ReconcileRequest::Pool { namespace, name } => {
                    let _ = subscriber.pools.send(ObjectRef::new(&name).within(&namespace));
                }
            }
        }
    }

    /// Whether a manifest of that digest and metadata was applied and still holds.
    pub fn is_as_applied(&self, key: &Key, digest: &str, meta: &ObjectMeta) -> bool {
        locked(&self.0.objects).is_as_applied(key, digest, meta)
    }

    /// Keeps what came of applying a manifest of that digest.
    pub fn applied(&self, key: &Key, digest: &str, outcome: CachedObject) {
        let requests = locked(&self.0.objects).applied(key, digest, outcome);
        self.enqueue(requests);
    }

    /// Keeps what the operator has written by other means than applying a manifest.
    pub fn written(&self, key: &Key, outcome: CachedObject) {
        let requests = locked(&self.0.objects).put(key, outcome, ChangeSource::OwnWrite);
        self.enqueue(requests);
    }

    /// The version of a Secret and its values, as far as known.
    pub fn secret(&self, namespace: &str, name: &str) -> Secret {
        if !self.0.is_live {
            return Secret::Unknown;
        }
        let Some(object) = self.get("Secret", namespace, name) else { return Secret::Missing };
        let values = locked(&self.0.values);
        match values.get(&(namespace.to_owned(), name.to_owned())) {
            Some((version, values)) if *version >= object.version => Secret::Known(values.clone()),
            _ => Secret::Unknown,
        }
    }

    /// Keeps the values of a Secret that was read.
    pub fn read(&self, namespace: &str, name: &str, version: u64, values: Arc<Values>) {
        locked(&self.0.values).insert((namespace.to_owned(), name.to_owned()), (version, values));
    }

    /// Those that use a Secret.
    pub(super) fn secret_users(&self, namespace: &str, secret: &str) -> BTreeSet<ReconcileRequest> {
        let objects = locked(&self.0.objects);
        let platforms = self.0.platforms.state();
        let using = platforms.iter().filter(|platform| {
            platform.namespace().as_deref() == Some(namespace) && secrets_of(platform).contains(secret)
        });
        let mut requests = BTreeSet::new();
        for platform in using {
            let name = platform.name_any();
            requests.extend(objects.pools_of(namespace, &name));
            requests.insert(ReconcileRequest::Platform { namespace: namespace.to_owned(), name });
        }
        requests
    }
}

/// What is known about a Secret.
pub enum Secret {
    Missing,
    Known(Arc<Values>),
    /// It has to be read.
    Unknown,
}

fn streamed<T: Send + 'static>(receiver: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> + Send {
    futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}
