use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        batch::v1::Job,
        core::v1::{ConfigMap, Secret, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller,
        controller::{Action, Config},
        events::{Event, EventType},
        reflector::ObjectRef,
        watcher,
    },
};

use super::{
    Component,
    apply::{Applied, apply},
    credentials::{admin_secret, bundled_secret, named, roles_secret},
    dereference::facts,
    plan::{Plan, Stage, plan},
    settings::Settings,
    status::status,
};
use crate::{
    api::{AnalyticsPlatform, AnalyticsPlatformStatus, WorkerPool},
    cluster::{Error, write_status},
    condition,
    context::{CONCURRENCY, Context, backoff, patience},
    failures::Failures,
    names::MANAGED_SELECTOR,
};

const KIND: &str = "AnalyticsPlatform";
/// A settled platform is looked at this often, in case a watch missed something.
const SETTLED: Duration = Duration::from_secs(300);
/// One on its way is looked at after this long, and later and later while nothing changes.
const UNDER_WAY: Duration = Duration::from_secs(5);

struct Controlled {
    context: Context,
    /// Failures and refusals in a row.
    failures: Failures,
    /// Looks in a row at a platform on its way that found nothing new.
    looks: Failures,
}

/// Runs the controller for ever.
pub async fn run(context: Context, namespace: Option<&str>) {
    let client = context.client.clone();
    let ours = watcher::Config::default().labels(MANAGED_SELECTOR);
    let all = watcher::Config::default;
    let controller = Controller::new(scoped::<AnalyticsPlatform>(&client, namespace), all());
    let platforms = controller.store();
    controller
        .with_config(Config::default().debounce(Duration::from_millis(100)).concurrency(CONCURRENCY))
        .owns(scoped::<PartialObjectMeta<StatefulSet>>(&client, namespace), ours.clone())
        .owns(scoped::<PartialObjectMeta<Deployment>>(&client, namespace), ours.clone())
        .owns(scoped::<PartialObjectMeta<Job>>(&client, namespace), ours.clone())
        .owns(scoped::<PartialObjectMeta<ConfigMap>>(&client, namespace), ours.clone())
        .owns(scoped::<PartialObjectMeta<Service>>(&client, namespace), ours.clone())
        .owns(scoped::<PartialObjectMeta<NetworkPolicy>>(&client, namespace), ours.clone())
        // Not the autoscaler, which writes down every measurement: the look at a settled platform finds it changed or gone.
        .owns(scoped::<PartialObjectMeta<PodDisruptionBudget>>(&client, namespace), ours)
        .watches(scoped::<WorkerPool>(&client, namespace), all(), |pool| {
            let namespace = pool.namespace().unwrap_or_default();
            Some(ObjectRef::new(&pool.spec.platform_ref.name).within(&namespace))
        })
        // Metadata alone: the operator keeps no copy of anybody's Secrets.
        .watches(scoped::<PartialObjectMeta<Secret>>(&client, namespace), all(), move |secret| {
            let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
            let uses = |platform: &Arc<AnalyticsPlatform>| {
                platform.namespace().as_deref() == Some(&namespace) && secrets_of(platform).contains(&name)
            };
            platforms
                .state()
                .iter()
                .filter(|platform| uses(platform))
                .map(|platform| ObjectRef::from_obj(&**platform))
                .collect::<Vec<_>>()
        })
        .run(
            reconcile,
            after_error,
            Arc::new(Controlled { context, failures: Failures::default(), looks: Failures::default() }),
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

/// The objects of `namespace`, or of all.
pub fn scoped<K>(client: &kube::Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Every Secret that a platform reads.
fn secrets_of(platform: &AnalyticsPlatform) -> BTreeSet<String> {
    let name = platform.name_any();
    let settings = Settings::of(&platform.namespace().unwrap_or_default(), &name, &platform.spec);
    let own = Component::BACKING.map(|component| bundled_secret(&name, component));
    named(&settings).into_iter().chain(own).chain([roles_secret(&name), admin_secret(&name)]).collect()
}

async fn reconcile(platform: Arc<AnalyticsPlatform>, controlled: Arc<Controlled>) -> Result<Action, Error> {
    if platform.metadata.deletion_timestamp.is_some() {
        // The garbage collector does it.
        return Ok(Action::await_change());
    }
    let result = look(&platform, &controlled).await;
    if let Err(error @ Error::Refused { reason, .. }) = &result {
        let previous = platform.status.clone().unwrap_or_default();
        let generation = platform.metadata.generation;
        let conditions =
            condition::unreadable(&previous.conditions, reason, &error.to_string(), generation, Timestamp::now());
        let status = AnalyticsPlatformStatus { observed_generation: generation, conditions, ..previous };
        if let Err(error) = tell(&platform, &status, None, &controlled.context).await {
            tracing::warn!(%error, "nor can it be told");
        }
    }
    result
}

async fn look(platform: &AnalyticsPlatform, controlled: &Controlled) -> Result<Action, Error> {
    let (begun, context) = (Instant::now(), &controlled.context);
    let facts = facts(&context.client, platform).await?;
    let (namespace, name) = (&facts.settings.namespace, &facts.settings.name);
    let plan = plan(&facts, &context.images, Timestamp::now());
    let applied =
        if facts.settings.paused { Applied::default() } else { apply(&context.client, namespace, &plan).await? };
    if applied.outdated {
        return Ok(Action::requeue(backoff(controlled.failures.count(namespace, name))));
    }

    let previous = platform.status.clone().unwrap_or_default();
    let status =
        status(&previous, platform.metadata.generation, &facts, &plan, applied.refused.as_ref(), Timestamp::now());
    tell(platform, &status, generated(&applied.created), context).await?;

    context.metrics.reconciled(KIND, begun.elapsed());
    if applied.refused.is_some() {
        return Ok(Action::requeue(backoff(controlled.failures.count(namespace, name))));
    }
    controlled.failures.forget(namespace, name);
    let settled = status.conditions.iter().all(|c| {
        !matches!((c.type_.as_str(), c.status.as_str()), ("Ready" | "Exposed", "False") | ("Reconciling", "True"))
    });
    if settled || status != previous {
        controlled.looks.forget(namespace, name);
    }
    let under_way = || patience(UNDER_WAY, controlled.looks.count(namespace, name));
    Ok(Action::requeue(next_look(&plan, settled, Timestamp::now()).unwrap_or_else(under_way)))
}

/// Writes the status, if it is another, and publishes what changed.
async fn tell(
    platform: &AnalyticsPlatform,
    status: &AnalyticsPlatformStatus,
    event: Option<Event>,
    context: &Context,
) -> Result<(), Error> {
    let previous = platform.status.clone().unwrap_or_default();
    if *status != previous {
        write_status(&context.client, platform, status).await?;
        context.metrics.status_written(KIND);
    }
    let changes = condition::events(&previous.conditions, &status.conditions);
    context.publish(platform, &event.into_iter().chain(changes).collect::<Vec<_>>()).await;
    Ok(())
}

/// When to look again, if nothing happens before; none while it is on its way.
fn next_look(plan: &Plan, settled: bool, now: Timestamp) -> Option<Duration> {
    match &plan.stage {
        Stage::SetUpFailed { retry_at, .. } => {
            let wait = Duration::try_from(retry_at.duration_since(now)).unwrap_or(Duration::ZERO);
            Some(wait.clamp(Duration::from_millis(200), super::plan::SET_UP_RETRY))
        }
        Stage::Refused(_) => Some(SETTLED),
        _ if settled => Some(SETTLED),
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
    let failures = controlled.failures.count(&platform.namespace().unwrap_or_default(), &platform.name_any());
    controlled.context.after_error(KIND, &platform.name_any(), error, failures)
}
