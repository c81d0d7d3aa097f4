use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{
        Controller,
        controller::{Action, Config},
        events::{Event, EventType},
        reflector::ObjectRef,
    },
};
use switchyard_contract::ConnectionPool;

use crate::{
    controllers::{
        backoff::{ConsecutiveCounter, backoff, progress_backoff},
        condition,
        context::{CONCURRENCY, Context, DEBOUNCE},
        platform::{
            apply::{Applied, apply},
            dereference::dereference,
            plan::{Plan, Stage, plan},
            status::status,
        },
    },
    crd::{AnalyticsPlatform, AnalyticsPlatformStatus},
    kubernetes::{cache::entry::CachedObject, error::Error},
    spec::connection_budget::{Budget, Refusal},
};

const KIND: &str = "AnalyticsPlatform";
/// A settled platform is looked at this often, in case a watch missed something.
const RESYNC_INTERVAL: Duration = Duration::from_secs(300);
/// One on its way is looked at after this long, and later and later while nothing changes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

struct Controlled {
    context: Context,
    /// Failures and refusals in a row.
    failures: ConsecutiveCounter,
    /// Looks in a row at a platform on its way that found nothing new.
    unchanged_count: ConsecutiveCounter,
    /// What each pool of a platform was last granted, by the platform's namespace and name.
    granted: Mutex<HashMap<(String, String), Granted>>,
}

/// What each pool is granted, and whether all of it fits.
type Granted = (BTreeMap<String, Result<ConnectionPool, Refusal>>, bool);

impl Controlled {
    /// Has those pools looked at that are granted other connections than before: what one takes, another does not get.
    fn grant(&self, namespace: &str, name: &str, budget: &Budget) {
        let granted = (budget.pools.clone(), budget.verdict.is_ok() && budget.api.is_ok());
        let mut all = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.insert((namespace.to_owned(), name.to_owned()), granted.clone()).unwrap_or_default();
        let changed =
            granted.0.iter().filter(|(pool, share)| before.1 != granted.1 || before.0.get(*pool) != Some(*share));
        self.context.cluster.cache.enqueue_pools(namespace, changed.map(|(pool, _)| pool));
    }
}

/// Runs the controller for ever: whatever is `requests` is looked at.
pub async fn run(context: Context, requests: impl Stream<Item = ObjectRef<AnalyticsPlatform>> + Send + 'static) {
    let platforms = context.cluster.cache.platforms().clone();
    Controller::for_stream(stream::pending(), platforms)
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .reconcile_on(requests)
        .run(
            reconcile,
            after_error,
            Arc::new(Controlled {
                context,
                failures: ConsecutiveCounter::default(),
                unchanged_count: ConsecutiveCounter::default(),
                granted: Mutex::default(),
            }),
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile(platform: Arc<AnalyticsPlatform>, controlled: Arc<Controlled>) -> Result<Action, Error> {
    if platform.metadata.deletion_timestamp.is_some() {
        // The garbage collector does it.
        return Ok(Action::await_change());
    }
    let result = reconcile_once(&platform, &controlled).await;
    if let Err(error @ Error::Refused { reason, .. }) = &result {
        let previous = previous(&platform, &controlled.context);
        let generation = platform.metadata.generation;
        let conditions =
            condition::unreadable(&previous.conditions, reason, &error.to_string(), generation, Timestamp::now());
        let status = AnalyticsPlatformStatus { observed_generation: generation, conditions, ..previous.clone() };
        if let Err(error) = update_status(&platform, &previous, &status, None, &controlled.context).await {
            tracing::warn!(%error, "nor can it be told");
        }
    }
    result
}

async fn reconcile_once(platform: &AnalyticsPlatform, controlled: &Controlled) -> Result<Action, Error> {
    let (begun, context) = (Instant::now(), &controlled.context);
    let mut input = dereference(&context.cluster, platform).await?;
    input.observed.health = context.healths.of(&input.settings.namespace, &input.settings.name);
    let (namespace, name) = (&input.settings.namespace, &input.settings.name);
    let plan = plan(&input, &context.images, Timestamp::now());
    controlled.grant(namespace, name, &plan.budget);
    let applied =
        if input.settings.paused { Applied::default() } else { apply(&context.cluster, namespace, &plan).await? };
    if applied.outdated {
        return Ok(Action::requeue(backoff(controlled.failures.increment(namespace, name))));
    }

    input.observed.unwatched = applied.unwatched.clone();
    let previous = previous(platform, context);
    let status =
        status(&previous, platform.metadata.generation, &input, &plan, applied.refused.as_ref(), Timestamp::now());
    update_status(platform, &previous, &status, generated(&applied.created), context).await?;

    context.metrics.reconciled(KIND, begun.elapsed());
    if applied.refused.is_some() {
        return Ok(Action::requeue(backoff(controlled.failures.increment(namespace, name))));
    }
    controlled.failures.reset(namespace, name);
    let settled = status.conditions.iter().all(|c| {
        !matches!((c.type_.as_str(), c.status.as_str()), ("Ready" | "Exposed", "False") | ("Reconciling", "True"))
    });
    if settled || status != previous {
        controlled.unchanged_count.reset(namespace, name);
    }
    let under_way = || progress_backoff(PROGRESS_INTERVAL, controlled.unchanged_count.increment(namespace, name));
    Ok(Action::requeue(requeue_after(&plan, settled, Timestamp::now()).unwrap_or_else(under_way)))
}

/// The status that was written last: the platform at hand may be older.
fn previous(platform: &AnalyticsPlatform, context: &Context) -> AnalyticsPlatformStatus {
    let namespace = platform.namespace().unwrap_or_default();
    context.cluster.cache.platform_status(&namespace, &platform.name_any()).unwrap_or_default()
}

/// Writes the status, if it is another, and publishes what changed.
async fn update_status(
    platform: &AnalyticsPlatform,
    previous: &AnalyticsPlatformStatus,
    status: &AnalyticsPlatformStatus,
    event: Option<Event>,
    context: &Context,
) -> Result<(), Error> {
    if status != previous {
        context.cluster.write_status(platform, status, CachedObject::of_platform).await?;
        context.metrics.status_written(KIND);
    }
    let changes = condition::events(&previous.conditions, &status.conditions);
    context.publish(platform, &event.into_iter().chain(changes).collect::<Vec<_>>()).await;
    Ok(())
}

/// When to look again, if nothing happens before; none while it is on its way.
fn requeue_after(plan: &Plan, settled: bool, now: Timestamp) -> Option<Duration> {
    match &plan.stage {
        Stage::SetupFailed { retry_at, .. } => {
            let wait = Duration::try_from(retry_at.duration_since(now)).unwrap_or(Duration::ZERO);
            Some(wait.clamp(Duration::from_millis(200), crate::controllers::platform::plan::SET_UP_RETRY))
        }
        Stage::Refused(_) => Some(RESYNC_INTERVAL),
        Stage::SettingUp { .. } if plan.requeue_after.is_some() => plan.requeue_after,
        _ if settled => Some(RESYNC_INTERVAL),
        _ => None,
    }
}

fn generated(secrets: &[String]) -> Option<Event> {
    (!secrets.is_empty()).then(|| Event {
        type_: EventType::Normal,
        reason: "SecretsGenerated".into(),
        note: Some(format!("made with random values, never to be overwritten: {}", secrets.join(", "))),
        action: "Create".into(),
        secondary: None,
    })
}

fn after_error(platform: Arc<AnalyticsPlatform>, error: &Error, controlled: Arc<Controlled>) -> Action {
    let failures = controlled.failures.increment(&platform.namespace().unwrap_or_default(), &platform.name_any());
    controlled.context.after_error(KIND, &platform.name_any(), error, failures)
}
