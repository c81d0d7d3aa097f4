//! Computes and writes the status of a pool.

use k8s_openapi::jiff::Timestamp;

use crate::{
    controllers::{
        apply::{Applied, Rejection},
        condition::{Condition, WAITING_FOR_CORRECTION, condition, merged_conditions},
        context::Context,
        reconciler::Reconciled,
        status::{StatusUpdate, write_status},
        worker_pool::{
            execution_provider::ExecutionProvider,
            input::PoolInput,
            plan::{Plan, Stage},
            validate::ValidPool,
        },
    },
    crd::{
        WorkerPool, WorkerPoolStatus,
        conditions::{ConditionType, Reason},
    },
    kubernetes::{error::Error, rollout::Rollout},
    spec::{names, pool::pool_replicas, replicas::Replicas},
};

/// Writes the status of `pool`, and Events about its changes.
///
/// # Errors
/// If the API server does not answer or refuses the write.
pub async fn update_status(
    pool: &WorkerPool,
    valid: &ValidPool,
    plan: &Plan,
    applied: &Applied,
    context: &Context,
) -> Result<StatusUpdate<WorkerPool>, Error> {
    let previous = pool.last_status(&context.cache);
    let generation = pool.metadata.generation;
    let status = status(&previous, generation, valid, plan, applied.rejection(), Timestamp::now());
    write_status(pool, &previous, status, None, context).await
}

/// Computes the status of a pool. Pure. `rejection` is the first write of the plan that the API
/// server refused.
pub fn status(
    previous: &WorkerPoolStatus,
    generation: Option<i64>,
    valid: &ValidPool,
    plan: &Plan,
    rejection: Option<&Rejection>,
    now: Timestamp,
) -> WorkerPoolStatus {
    let input = &valid.input;
    let name = input.pool.metadata.name.as_deref().unwrap_or_default();
    let platform = &input.pool.spec.platform_ref.name;
    let rollout = input.rollout.clone().unwrap_or_default();
    let replicas = pool_replicas(&input.pool.spec);
    let desired = match replicas {
        Replicas::Fixed(pods) => pods,
        Replicas::Scaled(bounds) => input.rollout.as_ref().map_or(bounds.min(), |rollout| rollout.desired),
    };
    let ready = ready(input, plan, rejection, &rollout, desired);
    let stalled =
        rejection.is_some() || matches!(plan.stage, Stage::NoPlatform | Stage::OverBudget(_) | Stage::Refused(_));
    let mut conditions = vec![ready.clone()];
    conditions.extend(budget(plan));
    conditions.extend(input.provider.as_ref().map(ExecutionProvider::condition));
    if let (Some(bounds), Stage::Running) = (replicas.scaling(), &plan.stage) {
        conditions.extend(input.load.conditions(bounds, input.rollout.as_ref()));
    }
    conditions.push(match (&plan.stage, stalled) {
        (Stage::Running, false) if !rollout.complete || rollout.desired != desired => condition(
            ConditionType::Reconciling,
            true,
            Reason::RollingOut,
            format!("{} of {desired} pods are ready with the newest template.", rollout.ready),
        ),
        (Stage::WaitingForPlatform, _) => {
            condition(ConditionType::Reconciling, true, Reason::WaitingForPlatform, ready.message.clone())
        }
        (Stage::Running | Stage::Paused, false) => {
            condition(ConditionType::Reconciling, false, Reason::UpToDate, "Everything matches the spec.")
        }
        _ => condition(ConditionType::Reconciling, false, Reason::Stalled, WAITING_FOR_CORRECTION),
    });
    conditions.push(if stalled {
        condition(ConditionType::Stalled, true, ready.reason, ready.message)
    } else {
        condition(ConditionType::Stalled, false, Reason::NotStalled, "Nothing blocks the reconciliation.")
    });
    WorkerPoolStatus {
        observed_generation: generation,
        desired_replicas: desired,
        replicas: rollout.replicas,
        ready_replicas: rollout.ready,
        selector: Some(names::as_selector(&names::pool_selector(platform, name))),
        connections_per_pod: plan
            .connections
            .and_then(|connections| i32::try_from(connections).ok())
            .or(previous.connections_per_pod),
        conditions: merged_conditions(&previous.conditions, conditions, generation, now),
    }
}

fn ready(input: &PoolInput, plan: &Plan, rejection: Option<&Rejection>, rollout: &Rollout, desired: i32) -> Condition {
    let platform = &input.pool.spec.platform_ref.name;
    let existing_pods = if input.rollout.is_some() { " Existing pods keep running." } else { "" };
    if let Some(Rejection { reason, message }) = rejection {
        return condition(ConditionType::Ready, false, reason.clone(), format!("{message}.{existing_pods}"));
    }
    match &plan.stage {
        Stage::NoPlatform => condition(
            ConditionType::Ready,
            false,
            Reason::PlatformNotFound,
            format!(
                "There is no AnalyticsPlatform {platform} in namespace {}: create it, or recreate the pool \
                 with another platformRef.{existing_pods}",
                input.owner.namespace
            ),
        ),
        Stage::OverBudget(refusal) => condition(
            ConditionType::Ready,
            false,
            Reason::ConnectionBudgetExceeded,
            format!("{refusal}.{existing_pods}"),
        ),
        Stage::Refused(words) => {
            condition(ConditionType::Ready, false, Reason::PodTemplateInvalid, format!("{words}.{existing_pods}"))
        }
        Stage::WaitingForPlatform if input.rollout.as_ref().is_some_and(Rollout::serves) => condition(
            ConditionType::Ready,
            true,
            Reason::Serving,
            format!("{} of {desired} pods are ready; changes wait until platform {platform} is set up.", rollout.ready),
        ),
        Stage::WaitingForPlatform => condition(
            ConditionType::Ready,
            false,
            Reason::WaitingForPlatform,
            format!("Waiting until platform {platform} is set up: see its conditions."),
        ),
        Stage::Paused => {
            let words = format!("Platform {platform} is paused: the operator changes nothing.");
            condition(ConditionType::Ready, input.rollout.as_ref().is_some_and(Rollout::serves), Reason::Paused, words)
        }
        Stage::Running if desired == 0 && rollout.desired == 0 => {
            condition(ConditionType::Ready, true, Reason::ScaledToZero, "It has no pods, as desired.")
        }
        Stage::Running if rollout.desired == desired && rollout.ready >= desired => condition(
            ConditionType::Ready,
            true,
            Reason::Serving,
            format!("{} of {desired} pods are ready.", rollout.ready),
        ),
        Stage::Running => match &rollout.trouble {
            Some(trouble) => condition(
                ConditionType::Ready,
                false,
                Reason::PodsNotStarting,
                format!("{} of {desired} pods are ready: {}.", rollout.ready, trouble.trim_end_matches('.')),
            ),
            None => condition(
                ConditionType::Ready,
                false,
                Reason::Progressing,
                format!("{} of {desired} pods are ready.", rollout.ready),
            ),
        },
    }
}

fn budget(plan: &Plan) -> Option<Condition> {
    let kind = ConditionType::ConnectionBudget;
    match (&plan.stage, plan.connections) {
        (Stage::OverBudget(refusal), _) => Some(condition(kind, false, Reason::Exceeded, format!("{refusal}."))),
        (_, Some(connections)) => {
            Some(condition(kind, true, Reason::Fits, format!("Each pod may hold {connections} database connections.")))
        }
        _ => None,
    }
}
