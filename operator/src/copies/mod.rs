//! What the operator knows of the cluster without asking: copies that watches keep up to date, and that its own writes are added to at once, so that
//! it never acts on a state from before its last write.
//!
//! Every instance keeps them, the standbys too: whoever takes over knows everything already.

mod objects;
mod seen;
mod watch;

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

pub use self::seen::{Content, Key, Seen};
use self::{
    objects::{By, Objects, Touched},
    watch::State,
};
use crate::{
    api::{AnalyticsPlatform, AnalyticsPlatformStatus, WorkerPool, WorkerPoolStatus},
    cluster::Error,
    leftovers::{Found, may_be_missing},
    platform::{controller::secrets_of, credentials::Values},
    resources::Owner,
};

/// The copies; clones are the same ones.
#[derive(Clone)]
pub struct Copies(Arc<Inner>);

struct Inner {
    platforms: Store<AnalyticsPlatform>,
    pools: Store<WorkerPool>,
    objects: Mutex<Objects>,
    values: Mutex<Read>,
    /// How far the watch of each kind has come.
    states: signal::Sender<BTreeMap<String, State>>,
    /// Counts the times that everything is to be listed anew.
    renewals: signal::Sender<u64>,
    /// By kind, the last of them to which a list has come to an end, be it a bad one.
    answered: signal::Sender<BTreeMap<String, u64>>,
    /// Whether watches keep the copies, or they are of one moment.
    kept: bool,
    /// The controllers of this instance, while it leads.
    listening: Mutex<Option<Listening>>,
}

/// By namespace and name: the values of Secrets that were asked for, with the version that they are of.
type Read = HashMap<(String, String), (u64, Arc<Values>)>;

struct Listening {
    platforms: mpsc::UnboundedSender<ObjectRef<AnalyticsPlatform>>,
    pools: mpsc::UnboundedSender<ObjectRef<WorkerPool>>,
}

/// The sides of the copies of platforms and pools that are written to.
pub struct Writers {
    platforms: Writer<AnalyticsPlatform>,
    pools: Writer<WorkerPool>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Copies {
    /// Nothing seen yet. [`Self::keep`] fills and keeps them with what writes.
    pub fn new() -> (Self, Writers) {
        Self::with(true)
    }

    fn with(kept: bool) -> (Self, Writers) {
        let ((platforms, platform_writer), (pools, pool_writer)) = (store(), store());
        let inner = Inner {
            platforms,
            pools,
            objects: Mutex::default(),
            values: Mutex::default(),
            states: signal::Sender::default(),
            renewals: signal::Sender::default(),
            answered: signal::Sender::default(),
            kept,
            listening: Mutex::default(),
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
        match &self.get("AnalyticsPlatform", namespace, name)?.content {
            Content::Platform(status) => status.as_deref().cloned(),
            _ => None,
        }
    }

    /// The status of a pool, as it was last written.
    pub fn pool_status(&self, namespace: &str, name: &str) -> Option<WorkerPoolStatus> {
        match &self.get("WorkerPool", namespace, name)?.content {
            Content::Pool { status, .. } => status.as_deref().cloned(),
            _ => None,
        }
    }

    /// An object that the operator made, or a custom resource.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Seen>> {
        let key = Key { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        locked(&self.0.objects).get(&key)
    }

    /// Everything of `kind` in `namespace` with a label, with its name and the time since which its state has been as it is.
    pub fn labelled(&self, kind: &str, namespace: &str, label: (&str, &str)) -> Vec<(String, Arc<Seen>, Instant)> {
        locked(&self.0.objects)
            .of_kind(kind, namespace)
            .filter(|(_, seen, _)| seen.label(label.0) == Some(label.1))
            .map(|(name, seen, moved)| (name.to_owned(), seen.clone(), moved))
            .collect()
    }

    /// Every object of these kinds that belongs to `owner`.
    pub fn owned(&self, owner: &Owner, kinds: &[ApiResource]) -> Vec<Found> {
        let objects = locked(&self.0.objects);
        let mut all = Vec::new();
        for kind in kinds {
            let of_kind = objects.of_kind(&kind.kind, &owner.namespace);
            all.extend(of_kind.filter(|(_, seen, _)| owner.is_of(&seen.meta)).map(|(name, seen, _)| Found {
                resource: kind.clone(),
                name: name.to_owned(),
                uid: seen.meta.uid.clone().unwrap_or_default(),
            }));
        }
        all
    }

    /// The kinds that the cluster does not know, of those that it need not know.
    pub fn missing(&self) -> Vec<ApiResource> {
        let states = self.0.states.borrow();
        may_be_missing().into_iter().filter(|kind| states.get(&kind.kind) == Some(&State::Missing)).collect()
    }

    /// Whether everything is known that is to be known.
    ///
    /// # Errors
    /// When something cannot be watched.
    pub fn check(&self) -> Result<(), Error> {
        let states = self.0.states.borrow();
        let found = states.iter().find_map(|(kind, state)| match state {
            State::Failing { refused, words, .. } => Some((kind, *refused, words.clone())),
            State::Unlisted | State::Listed | State::Missing => None,
        });
        let Some((kind, refused, words)) = found else { return Ok(()) };
        let what = format!("cannot watch objects of kind {kind}");
        Err(match refused {
            Some(reason) => Error::Refused { what, reason, words },
            None => Error::Unseen { what, words },
        })
    }

    /// Waits until the first look at every kind has come to an end, be it a bad one.
    pub async fn looked(&self) {
        let mut states = self.0.states.subscribe();
        let over = |states: &BTreeMap<String, State>| {
            !states.is_empty() && states.values().all(|state| *state != State::Unlisted)
        };
        // The sender is ours: it does not go away.
        let _ = states.wait_for(over).await;
    }

    /// Has everything listed anew, and waits for it: a watch that stands still does not say so, and whoever takes over must not go by what was.
    pub async fn renewed(&self) {
        self.looked().await;
        self.0.renewals.send_modify(|renewal| *renewal += 1);
        let renewal = *self.0.renewals.borrow();
        let mut answered = self.0.answered.subscribe();
        // The sender is ours: it does not go away.
        let _ = answered.wait_for(|all| all.values().all(|last| *last >= renewal)).await;
    }

    fn answered(&self, kind: &str, renewal: u64) {
        self.0.answered.send_if_modified(|all| all.insert(kind.to_owned(), renewal) != Some(renewal));
    }

    /// Begins to lead: what has to be looked at, from now on, beginning with everything there is.
    pub fn listen(
        &self,
    ) -> (
        impl Stream<Item = ObjectRef<AnalyticsPlatform>> + Send + use<>,
        impl Stream<Item = ObjectRef<WorkerPool>> + Send + use<>,
    ) {
        let ((platforms, platform_stream), (pools, pool_stream)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        *locked(&self.0.listening) = Some(Listening { platforms, pools });
        let everybody = locked(&self.0.objects).everybody();
        self.tell(everybody);
        (streamed(platform_stream), streamed(pool_stream))
    }

    /// Has a platform looked at.
    pub fn touch_platform(&self, namespace: &str, name: &str) {
        self.tell([Touched::Platform { namespace: namespace.to_owned(), name: name.to_owned() }].into());
    }

    /// Has pools of one namespace looked at.
    pub fn touch_pools<'a>(&self, namespace: &str, names: impl Iterator<Item = &'a String>) {
        self.tell(names.map(|name| Touched::Pool { namespace: namespace.to_owned(), name: name.clone() }).collect());
    }

    fn tell(&self, touched: BTreeSet<Touched>) {
        let listening = locked(&self.0.listening);
        let Some(listening) = listening.as_ref() else { return };
        for one in touched {
            // Nobody may be there any more, between two times of leading.
            match one {
                Touched::Platform { namespace, name } => {
                    let _ = listening.platforms.send(ObjectRef::new(&name).within(&namespace));
                }
                Touched::Pool { namespace, name } => {
                    let _ = listening.pools.send(ObjectRef::new(&name).within(&namespace));
                }
            }
        }
    }

    /// Whether a manifest of that digest and metadata was applied and still holds.
    pub fn is_as_applied(&self, key: &Key, digest: &str, meta: &ObjectMeta) -> bool {
        locked(&self.0.objects).is_as_applied(key, digest, meta)
    }

    /// Keeps what came of applying a manifest of that digest.
    pub fn applied(&self, key: &Key, digest: &str, outcome: Seen) {
        let touched = locked(&self.0.objects).applied(key, digest, outcome);
        self.tell(touched);
    }

    /// Keeps what the operator has written by other means than applying a manifest.
    pub fn written(&self, key: &Key, outcome: Seen) {
        let touched = locked(&self.0.objects).put(key, outcome, By::Operator);
        self.tell(touched);
    }

    /// The version of a Secret and its values, as far as known.
    pub fn secret(&self, namespace: &str, name: &str) -> Secret {
        if !self.0.kept {
            return Secret::Unknown;
        }
        let Some(seen) = self.get("Secret", namespace, name) else { return Secret::Missing };
        let values = locked(&self.0.values);
        match values.get(&(namespace.to_owned(), name.to_owned())) {
            Some((version, values)) if *version >= seen.version => Secret::Known(values.clone()),
            _ => Secret::Unknown,
        }
    }

    /// Keeps the values of a Secret that was read.
    pub fn read(&self, namespace: &str, name: &str, version: u64, values: Arc<Values>) {
        locked(&self.0.values).insert((namespace.to_owned(), name.to_owned()), (version, values));
    }

    /// Those that use a Secret.
    fn users(&self, namespace: &str, secret: &str) -> BTreeSet<Touched> {
        let objects = locked(&self.0.objects);
        let platforms = self.0.platforms.state();
        let using = platforms.iter().filter(|platform| {
            platform.namespace().as_deref() == Some(namespace) && secrets_of(platform).contains(secret)
        });
        let mut touched = BTreeSet::new();
        for platform in using {
            let name = platform.name_any();
            touched.extend(objects.pools_of(namespace, &name));
            touched.insert(Touched::Platform { namespace: namespace.to_owned(), name });
        }
        touched
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
