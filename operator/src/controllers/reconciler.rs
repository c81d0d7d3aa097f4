//! What both controllers have in common: the custom resource that one reconciles, and what it remembers of it.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1 as metav1};
use kube::{
    Resource, ResourceExt as _,
    runtime::{controller::Action, reflector::Store},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    controllers::{
        backoff::{ConsecutiveCounter, backoff, progress_backoff},
        context::Context,
    },
    kubernetes::{
        cache::{entry::CachedObject, store::WatchCache},
        error::Error,
    },
};

/// The status of a custom resource.
pub trait ResourceStatus: Clone + Default + PartialEq + Serialize + Send + Sync {
    /// Its conditions.
    fn conditions(&self) -> &[metav1::Condition];

    /// The same status with these conditions, of generation `generation`.
    fn with_conditions(self, generation: Option<i64>, conditions: Vec<metav1::Condition>) -> Self;
}

/// A custom resource with a controller of its own.
pub trait Reconciled:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
    type Status: ResourceStatus;

    /// What the controller remembers of all objects of the kind from one reconciliation to the next.
    type Memory: Default + Send + Sync + 'static;

    /// An object that makes progress is reconciled again after this long, and later and later while nothing changes.
    const PROGRESS_INTERVAL: Duration;

    /// Every object of the kind.
    fn store(cache: &WatchCache) -> Store<Self>;

    /// The status that was written last: the object at hand may be older.
    fn last_status(&self, cache: &WatchCache) -> Self::Status;

    /// What the watch cache holds of it.
    fn to_cached(&self) -> CachedObject;

    /// Brings the cluster to what the object asks for.
    fn reconcile(&self, reconciler: &Reconciler<Self>) -> impl Future<Output = Result<Action, Error>> + Send;
}

/// What reconciling objects of one kind needs.
pub struct Reconciler<K: Reconciled> {
    pub context: Context,
    pub memory: K::Memory,
    /// Failures and refusals in a row.
    failures: ConsecutiveCounter,
    /// Reconciliations in a row of an object that makes progress in which nothing changed.
    unchanged_count: ConsecutiveCounter,
}

impl<K: Reconciled> Reconciler<K> {
    /// Nothing reconciled yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            memory: K::Memory::default(),
            failures: ConsecutiveCounter::default(),
            unchanged_count: ConsecutiveCounter::default(),
        }
    }

    /// When to try again after a failure: later with each in a row.
    pub fn retry_after(&self, object: &K) -> Duration {
        backoff(self.failures.increment(&namespace(object), &object.name_any()))
    }

    /// When to reconcile again after a success: after `fixed`, or, of an object that makes progress, later and later while nothing has `changed`.
    pub fn requeue_after(&self, object: &K, changed: bool, fixed: Option<Duration>) -> Duration {
        let (namespace, name) = (namespace(object), object.name_any());
        self.failures.reset(&namespace, &name);
        if changed {
            self.unchanged_count.reset(&namespace, &name);
        }
        let later = || progress_backoff(K::PROGRESS_INTERVAL, self.unchanged_count.increment(&namespace, &name));
        fixed.unwrap_or_else(later)
    }
}

fn namespace<K: Reconciled>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}
