use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{
        Controller,
        controller::{Action, Config},
        reflector::ObjectRef,
    },
};

use crate::{
    controllers::{
        backoff::{ConsecutiveCounter, backoff, progress_backoff},
        condition,
        context::{CONCURRENCY, Context, DEBOUNCE},
        worker_pool::{
            dereference::dereference,
            plan::{Plan, PoolInput, plan},
            status::status,
        },
    },
    crd::{WorkerPool, WorkerPoolStatus},
    kubernetes::{applier::Cluster, cache::entry::CachedObject, error::Error},
};

const KIND: &str = "WorkerPool";
/// A settled pool is looked at this often, in case a watch missed something.
const RESYNC_INTERVAL: Duration = Duration::from_secs(300);
/// One on its way is looked at after this long, and later and later while nothing changes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// One without pods is looked at this often: the first job waits for it.
const AT_ZERO: Duration = Duration::from_secs(5);

struct Controlled {
    context: Context,
    /// Failures and refusals in a row.
    failures: ConsecutiveCounter,
    /// Looks in a row at a pool on its way that found nothing new.
    unchanged_count: ConsecutiveCounter,
}

/// Runs the controller for ever: whatever is `requests` is looked at.
pub async fn run(context: Context, requests: impl Stream<Item = ObjectRef<WorkerPool>> + Send + 'static) {
    let pools = context.cluster.cache.pools().clone();
    Controller::for_stream(stream::pending(), pools)
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .reconcile_on(requests)
        .run(
            reconcile,
            after_error,
            Arc::new(Controlled {
                context,
                failures: ConsecutiveCounter::default(),
                unchanged_count: ConsecutiveCounter::default(),
            }),
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile(pool: Arc<WorkerPool>, controlled: Arc<Controlled>) -> Result<Action, Error> {
    if pool.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let result = reconcile_once(&pool, &controlled).await;
    if let Err(error @ Error::Refused { reason, .. }) = &result {
        let previous = previous(&pool, &controlled.context);
        let generation = pool.metadata.generation;
        let conditions =
            condition::unreadable(&previous.conditions, reason, &error.to_string(), generation, Timestamp::now());
        let status = WorkerPoolStatus { observed_generation: generation, conditions, ..previous.clone() };
        if let Err(error) = update_status(&pool, &previous, &status, &controlled.context).await {
            tracing::warn!(%error, "nor can it be told");
        }
    }
    result
}

async fn reconcile_once(pool: &WorkerPool, controlled: &Controlled) -> Result<Action, Error> {
    let (begun, context) = (Instant::now(), &controlled.context);
    let input = dereference(&context.cluster, &context.platform_client, pool).await?;
    let (namespace, name) = (&input.owner.namespace, &pool.name_any());
    let plan = plan(&input, &context.images);
    let refused = apply(&context.cluster, &input, &plan).await?;

    let previous = previous(pool, context);
    let status = status(&previous, pool.metadata.generation, &input, &plan, refused.as_ref(), Timestamp::now());
    update_status(pool, &previous, &status, context).await?;

    context.metrics.reconciled(KIND, begun.elapsed());
    if refused.is_some() {
        return Ok(Action::requeue(backoff(controlled.failures.increment(namespace, name))));
    }
    controlled.failures.reset(namespace, name);
    let ready = condition::find(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
    if ready || status != previous {
        controlled.unchanged_count.reset(namespace, name);
    }
    let under_way = || progress_backoff(PROGRESS_INTERVAL, controlled.unchanged_count.increment(namespace, name));
    Ok(Action::requeue(requeue_after(&input, ready).unwrap_or_else(under_way)))
}

/// The status that was written last: the pool at hand may be older.
fn previous(pool: &WorkerPool, context: &Context) -> WorkerPoolStatus {
    let namespace = pool.namespace().unwrap_or_default();
    context.cluster.cache.pool_status(&namespace, &pool.name_any()).unwrap_or_default()
}

/// Writes the status, if it is another, and publishes what changed.
async fn update_status(
    pool: &WorkerPool,
    previous: &WorkerPoolStatus,
    status: &WorkerPoolStatus,
    context: &Context,
) -> Result<(), Error> {
    if status != previous {
        context.cluster.write_status(pool, status, CachedObject::of_pool).await?;
        context.metrics.status_written(KIND);
    }
    context.publish(pool, &condition::events(&previous.conditions, &status.conditions)).await;
    Ok(())
}

/// Applies the plan; answers with what the API server would not take.
async fn apply(cluster: &Cluster, input: &PoolInput, plan: &Plan) -> Result<Option<(&'static str, String)>, Error> {
    let (namespace, name) = (&input.owner.namespace, input.pool.name_any());
    let mut refused = None;
    let mut sort = |result: Result<(), Error>| match result {
        Err(Error::Refused { what, reason, words }) => {
            refused.get_or_insert((reason, format!("{what}: {words}")));
            Ok(())
        }
        other => other,
    };
    for found in &plan.delete {
        sort(cluster.delete(namespace, found).await)?;
    }
    for manifest in &plan.apply {
        sort(cluster.apply(manifest, plan.scaled && manifest.resource.kind == "Deployment").await)?;
    }
    if let Some(replicas) = plan.only_replicas {
        sort(cluster.set_replicas(namespace, &name, replicas).await)?;
    }
    if let Some(replicas) = plan.step {
        sort(cluster.step_replicas(namespace, &name, replicas).await)?;
    }
    Ok(refused)
}

/// When to look again, if nothing happens before; none while it is on its way.
fn requeue_after(input: &PoolInput, ready: bool) -> Option<Duration> {
    match (&input.pool.spec.scaling, input.rollout.as_ref().map(|rollout| rollout.desired)) {
        (Some(_), Some(0)) => Some(AT_ZERO),
        // It may have to go to none.
        (Some(scaling), _) if scaling.min == 0 => Some(PROGRESS_INTERVAL),
        _ => ready.then_some(RESYNC_INTERVAL),
    }
}

fn after_error(pool: Arc<WorkerPool>, error: &Error, controlled: Arc<Controlled>) -> Action {
    let failures = controlled.failures.increment(&pool.namespace().unwrap_or_default(), &pool.name_any());
    controlled.context.after_error(KIND, &pool.name_any(), error, failures)
}
