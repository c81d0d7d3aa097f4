//! The interface of a reconciled custom resource, and the state that its controller keeps.

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

/// A custom resource with a controller.
pub trait Reconciled:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
    /// Its status subresource.
    type Status: ResourceStatus;

    /// State that the controller keeps between reconciliations, for all objects of the kind.
    type Memory: Default + Send + Sync + 'static;

    /// First delay before an object in progress is reconciled again; see
    /// [`progress_backoff`].
    const PROGRESS_INTERVAL: Duration;

    /// All objects of the kind.
    fn store(cache: &WatchCache) -> Store<Self>;

    /// The last written status. The one in `self` may be older.
    fn last_status(&self, cache: &WatchCache) -> Self::Status;

    /// The object as the watch cache stores it.
    fn to_cached(&self) -> CachedObject;

    /// Reconciles the cluster with the spec of the object.
    fn reconcile(&self, reconciler: &Reconciler<Self>) -> impl Future<Output = Result<Action, Error>> + Send;
}

/// The state of the controller of one kind.
pub struct Reconciler<K: Reconciled> {
    /// Shared by all controllers.
    pub context: Context,
    /// See [`Reconciled::Memory`].
    pub memory: K::Memory,
    /// Consecutive failures and refusals.
    failures: ConsecutiveCounter,
    /// Consecutive reconciliations of an object in progress that changed nothing.
    unchanged_count: ConsecutiveCounter,
}

impl<K: Reconciled> Reconciler<K> {
    /// A controller that has not reconciled anything yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            memory: K::Memory::default(),
            failures: ConsecutiveCounter::default(),
            unchanged_count: ConsecutiveCounter::default(),
        }
    }

    /// Delay before a retry after a failure. It grows with each consecutive one.
    pub fn retry_after(&self, object: &K) -> Duration {
        backoff(self.failures.increment(&namespace(object), &object.name_any()))
    }

    /// Delay before the next reconciliation after a success: `fixed`, or else the progress backoff,
    /// which starts again if something has `changed`.
    pub fn requeue_after(&self, object: &K, changed: bool, fixed: Option<Duration>) -> Duration {
        let (namespace, name) = (namespace(object), object.name_any());
        self.failures.reset(&namespace, &name);
        if changed {
            self.unchanged_count.reset(&namespace, &name);
        }
        let in_progress = || progress_backoff(K::PROGRESS_INTERVAL, self.unchanged_count.increment(&namespace, &name));
        fixed.unwrap_or_else(in_progress)
    }
}

fn namespace<K: Reconciled>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}
