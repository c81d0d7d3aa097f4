//! Reconciles a pool: dereference -> validate -> plan -> apply -> status.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use kube::{
    ResourceExt as _,
    runtime::{controller::Action, reflector::Store},
};

use crate::{
    controllers::{
        apply::Applied,
        condition,
        reconciler::{Reconciled, Reconciler, ResourceStatus},
        status::StatusUpdate,
        worker_pool::{
            apply::apply, dereference::dereference, input::PoolInput, plan::plan, status::update_status,
            validate::validate,
        },
    },
    crd::{WorkerPool, WorkerPoolStatus},
    kubernetes::{
        cache::{entry::CachedObject, store::WatchCache},
        error::Error,
    },
    spec::pool::pool_replicas,
};

/// A settled pool is reconciled this often, in case a watch misses a change.
const RESYNC_INTERVAL: Duration = Duration::from_mins(5);
/// A pool without pods is reconciled this often, since its first job waits for a pod.
const AT_ZERO_INTERVAL: Duration = Duration::from_secs(5);

/// Reconciles the cluster with the spec of `pool`.
async fn reconcile(pool: &WorkerPool, reconciler: &Reconciler<WorkerPool>) -> Result<Action, Error> {
    let context = &reconciler.context;
    let input = dereference(&context.reader, &context.platform_client, pool).await?;
    let valid = validate(input);
    let plan = plan(&valid, &context.images);
    let applied = apply(&context.applier, &valid, &plan).await?;
    let update = update_status(pool, &valid, &plan, &applied, context).await?;
    Ok(Action::requeue(requeue_after(pool, &valid.input, &applied, &update, reconciler)))
}

/// Delay before the next reconciliation, unless a change triggers it earlier.
fn requeue_after(
    pool: &WorkerPool,
    input: &PoolInput,
    applied: &Applied,
    update: &StatusUpdate<WorkerPool>,
    reconciler: &Reconciler<WorkerPool>,
) -> Duration {
    if applied.must_be_retried() {
        return reconciler.retry_after(pool);
    }
    let ready = condition::find(&update.status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
    let fixed = match (pool_replicas(&input.pool.spec).scaling(), input.rollout.as_ref().map(|rollout| rollout.desired))
    {
        (Some(_), Some(0)) => Some(AT_ZERO_INTERVAL),
        // A step to zero may become due.
        (Some(bounds), _) if bounds.min() == 0 => Some(WorkerPool::PROGRESS_INTERVAL),
        _ => ready.then_some(RESYNC_INTERVAL),
    };
    reconciler.requeue_after(pool, ready || update.changed, fixed)
}

impl Reconciled for WorkerPool {
    type Status = WorkerPoolStatus;
    type Memory = ();

    const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

    fn store(cache: &WatchCache) -> Store<Self> {
        cache.pools().clone()
    }

    fn last_status(&self, cache: &WatchCache) -> WorkerPoolStatus {
        cache.pool_status(&self.namespace().unwrap_or_default(), &self.name_any()).unwrap_or_default()
    }

    fn to_cached(&self) -> CachedObject {
        CachedObject::of_pool(self)
    }

    async fn reconcile(&self, reconciler: &Reconciler<Self>) -> Result<Action, Error> {
        reconcile(self, reconciler).await
    }
}

impl ResourceStatus for WorkerPoolStatus {
    fn conditions(&self) -> &[metav1::Condition] {
        &self.conditions
    }

    fn with_conditions(self, generation: Option<i64>, conditions: Vec<metav1::Condition>) -> Self {
        Self { observed_generation: generation, conditions, ..self }
    }
}
