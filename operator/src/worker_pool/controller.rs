use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Secret},
        policy::v1::PodDisruptionBudget,
    },
    jiff::Timestamp,
};
use kube::{
    ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller,
        controller::{Action, Config},
        reflector::{ObjectRef, Store},
        watcher,
    },
};

use super::{
    dereference::facts,
    plan::{Facts, Plan, plan},
    status::status,
};
use crate::{
    api::{AnalyticsPlatform, WorkerPool, WorkerPoolStatus},
    cluster::{self, Error},
    condition,
    context::{CONCURRENCY, Context, backoff, patience},
    failures::Failures,
    names::MANAGED_SELECTOR,
    platform::controller::scoped,
};

const KIND: &str = "WorkerPool";
/// A settled pool is looked at this often, in case a watch missed something.
const SETTLED: Duration = Duration::from_secs(300);
/// One on its way is looked at after this long, and later and later while nothing changes.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// One without pods is looked at this often: the first job waits for it.
const AT_ZERO: Duration = Duration::from_secs(5);

struct Controlled {
    context: Context,
    /// Failures and refusals in a row.
    failures: Failures,
    /// Looks in a row at a pool on its way that found nothing new.
    looks: Failures,
}

/// Runs the controller for ever.
pub async fn run(context: Context, namespace: Option<&str>) {
    let client = context.client.clone();
    let ours = watcher::Config::default().labels(MANAGED_SELECTOR);
    let all = watcher::Config::default;
    let controller = Controller::new(scoped::<WorkerPool>(&client, namespace), all());
    let (by_platform, by_secret) = (controller.store(), controller.store());
    controller
        .with_config(Config::default().debounce(Duration::from_millis(100)).concurrency(CONCURRENCY))
        .owns(scoped::<PartialObjectMeta<Deployment>>(&client, namespace), ours.clone())
        .owns(scoped::<PartialObjectMeta<ConfigMap>>(&client, namespace), ours.clone())
        .owns(scoped::<PartialObjectMeta<PodDisruptionBudget>>(&client, namespace), ours)
        .watches(scoped::<AnalyticsPlatform>(&client, namespace), all(), move |platform| {
            let (namespace, name) = (platform.namespace().unwrap_or_default(), platform.name_any());
            pools_that(&by_platform, |pool| {
                pool.namespace().as_deref() == Some(&namespace) && pool.spec.platform_ref.name == name
            })
        })
        .watches(scoped::<PartialObjectMeta<Secret>>(&client, namespace), all(), move |secret| {
            let namespace = secret.namespace().unwrap_or_default();
            pools_that(&by_secret, |pool| pool.namespace().as_deref() == Some(&namespace))
        })
        .run(
            reconcile,
            after_error,
            Arc::new(Controlled { context, failures: Failures::default(), looks: Failures::default() }),
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

fn pools_that(pools: &Store<WorkerPool>, wanted: impl Fn(&WorkerPool) -> bool) -> Vec<ObjectRef<WorkerPool>> {
    pools.state().iter().filter(|pool| wanted(pool)).map(|pool| ObjectRef::from_obj(&**pool)).collect()
}

async fn reconcile(pool: Arc<WorkerPool>, controlled: Arc<Controlled>) -> Result<Action, Error> {
    if pool.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let result = look(&pool, &controlled).await;
    if let Err(error @ Error::Refused { reason, .. }) = &result {
        let previous = pool.status.clone().unwrap_or_default();
        let generation = pool.metadata.generation;
        let conditions =
            condition::unreadable(&previous.conditions, reason, &error.to_string(), generation, Timestamp::now());
        let status = WorkerPoolStatus { observed_generation: generation, conditions, ..previous };
        if let Err(error) = tell(&pool, &status, &controlled.context).await {
            tracing::warn!(%error, "nor can it be told");
        }
    }
    result
}

async fn look(pool: &WorkerPool, controlled: &Controlled) -> Result<Action, Error> {
    let (begun, context) = (Instant::now(), &controlled.context);
    let facts = facts(&context.client, &context.queues, pool).await?;
    let (namespace, name) = (&facts.owner.namespace, &pool.name_any());
    let plan = plan(&facts, &context.images);
    let refused = apply(context, &facts, &plan).await?;

    let previous = pool.status.clone().unwrap_or_default();
    let status = status(&previous, pool.metadata.generation, &facts, &plan, refused.as_ref(), Timestamp::now());
    tell(pool, &status, context).await?;

    context.metrics.reconciled(KIND, begun.elapsed());
    if refused.is_some() {
        return Ok(Action::requeue(backoff(controlled.failures.count(namespace, name))));
    }
    controlled.failures.forget(namespace, name);
    let ready = condition::find(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
    if ready || status != previous {
        controlled.looks.forget(namespace, name);
    }
    let under_way = || patience(UNDER_WAY, controlled.looks.count(namespace, name));
    Ok(Action::requeue(next_look(&facts, ready).unwrap_or_else(under_way)))
}

/// Writes the status, if it is another, and publishes what changed.
async fn tell(pool: &WorkerPool, status: &WorkerPoolStatus, context: &Context) -> Result<(), Error> {
    if pool.status.as_ref() != Some(status) {
        cluster::write_status(&context.client, pool, status).await?;
        context.metrics.status_written(KIND);
    }
    let previous = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
    context.publish(pool, &condition::events(previous, &status.conditions)).await;
    Ok(())
}

/// Applies the plan; answers with what the API server would not take.
async fn apply(context: &Context, facts: &Facts, plan: &Plan) -> Result<Option<(&'static str, String)>, Error> {
    let client = &context.client;
    let mut refused = None;
    let mut sort = |result: Result<(), Error>| match result {
        Err(Error::Refused { what, reason, words }) => {
            refused.get_or_insert((reason, format!("{what}: {words}")));
            Ok(())
        }
        other => other,
    };
    for found in &plan.delete {
        sort(cluster::delete(client, &facts.owner.namespace, found).await)?;
    }
    for manifest in &plan.apply {
        let result = if plan.scaled && manifest.resource.kind == "Deployment" {
            cluster::apply_scaled(client, manifest).await
        } else {
            cluster::apply(client, manifest).await
        };
        sort(result)?;
    }
    if let Some(replicas) = plan.only_replicas {
        sort(cluster::set_replicas(client, &facts.owner.namespace, &facts.pool.name_any(), replicas).await)?;
    }
    if let Some(replicas) = plan.step {
        sort(cluster::step_replicas(client, &facts.owner.namespace, &facts.pool.name_any(), replicas).await)?;
    }
    Ok(refused)
}

/// When to look again, if nothing happens before; none while it is on its way.
fn next_look(facts: &Facts, ready: bool) -> Option<Duration> {
    match (&facts.pool.spec.scaling, facts.rollout.as_ref().map(|rollout| rollout.desired)) {
        (Some(_), Some(0)) => Some(AT_ZERO),
        // It may have to go to none.
        (Some(scaling), _) if scaling.min == 0 => Some(UNDER_WAY),
        _ => ready.then_some(SETTLED),
    }
}

fn after_error(pool: Arc<WorkerPool>, error: &Error, controlled: Arc<Controlled>) -> Action {
    let failures = controlled.failures.count(&pool.namespace().unwrap_or_default(), &pool.name_any());
    controlled.context.after_error(KIND, &pool.name_any(), error, failures)
}
