//! A pool's status from its plan and from what is there. Pure.

use k8s_openapi::jiff::Timestamp;

use super::{
    plan::{Facts, Plan, Stage},
    provider::Provider,
};
use crate::{
    api::WorkerPoolStatus,
    condition::{Statement, conditions, state},
    names,
    platform::{
        observed::Rollout,
        settings::{Replicas, pool_replicas},
    },
};

/// The status of a pool. `refused` is what the API server would not take while the plan was applied: reason and words.
pub fn status(
    previous: &WorkerPoolStatus,
    generation: Option<i64>,
    facts: &Facts,
    plan: &Plan,
    refused: Option<&(&'static str, String)>,
    now: Timestamp,
) -> WorkerPoolStatus {
    let name = facts.pool.metadata.name.as_deref().unwrap_or_default();
    let platform = &facts.pool.spec.platform_ref.name;
    let rollout = facts.rollout.clone().unwrap_or_default();
    let desired = match pool_replicas(&facts.pool.spec) {
        Replicas::Fixed(replicas) => replicas,
        Replicas::Scaled { min, .. } => facts.rollout.as_ref().map_or(min, |rollout| rollout.desired),
    };
    let ready = ready(facts, plan, refused, &rollout, desired);
    let stalled =
        refused.is_some() || matches!(plan.stage, Stage::NoPlatform | Stage::OverBudget(_) | Stage::Refused(_));
    let mut statements = vec![ready.clone()];
    statements.extend(budget(plan));
    statements.extend(facts.provider.as_ref().map(Provider::statement));
    if let (Some(scaling), Stage::Running) = (&facts.pool.spec.scaling, &plan.stage) {
        statements.extend(facts.load.statements(scaling, facts.rollout.as_ref()));
    }
    statements.push(match (&plan.stage, stalled) {
        (Stage::Running, false) if !rollout.complete || rollout.desired != desired => state(
            "Reconciling",
            true,
            "RollingOut",
            format!("{} of {desired} pods are ready and of the newest template.", rollout.ready),
        ),
        (Stage::WaitingForPlatform, _) => state("Reconciling", true, "WaitingForPlatform", ready.message.clone()),
        (Stage::Running | Stage::Paused, false) => {
            state("Reconciling", false, "UpToDate", "Everything is as the spec says.")
        }
        _ => state("Reconciling", false, "Stalled", "Waiting for somebody to mend what stands in the way."),
    });
    statements.push(if stalled {
        state("Stalled", true, ready.reason, ready.message)
    } else {
        state("Stalled", false, "NotStalled", "Nothing stands in the way.")
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
        conditions: conditions(&previous.conditions, statements, generation, now),
    }
}

fn ready(
    facts: &Facts,
    plan: &Plan,
    refused: Option<&(&'static str, String)>,
    rollout: &Rollout,
    desired: i32,
) -> Statement {
    let platform = &facts.pool.spec.platform_ref.name;
    let goes_on = if facts.rollout.is_some() { " What ran before goes on running." } else { "" };
    if let Some((reason, words)) = refused {
        return state("Ready", false, *reason, format!("{words}.{goes_on}"));
    }
    match &plan.stage {
        Stage::NoPlatform => state(
            "Ready",
            false,
            "PlatformNotFound",
            format!(
                "There is no AnalyticsPlatform {platform} in namespace {}: create it, or delete this pool and make one with another platformRef.{goes_on}",
                facts.owner.namespace
            ),
        ),
        Stage::OverBudget(refusal) => state("Ready", false, "ConnectionBudgetExceeded", format!("{refusal}.{goes_on}")),
        Stage::Refused(words) => state("Ready", false, "PodTemplateInvalid", format!("{words}.{goes_on}")),
        Stage::WaitingForPlatform if facts.rollout.as_ref().is_some_and(Rollout::serves) => state(
            "Ready",
            true,
            "Serving",
            format!("{} of {desired} pods are ready; changes wait until platform {platform} is set up.", rollout.ready),
        ),
        Stage::WaitingForPlatform => state(
            "Ready",
            false,
            "WaitingForPlatform",
            format!("Waiting until platform {platform} is set up: see its conditions."),
        ),
        Stage::Paused => {
            let words = format!("Platform {platform} is paused: the operator changes nothing.");
            state("Ready", facts.rollout.as_ref().is_some_and(Rollout::serves), "Paused", words)
        }
        Stage::Running if desired == 0 && rollout.desired == 0 => {
            state("Ready", true, "ScaledToZero", "It has no pods, as it should have none.")
        }
        Stage::Running if rollout.desired == desired && rollout.ready >= desired => {
            state("Ready", true, "Serving", format!("{} of {desired} pods are ready.", rollout.ready))
        }
        Stage::Running => match &rollout.trouble {
            Some(trouble) => state(
                "Ready",
                false,
                "PodsNotStarting",
                format!("{} of {desired} pods are ready: {trouble}.", rollout.ready),
            ),
            None => state("Ready", false, "Progressing", format!("{} of {desired} pods are ready.", rollout.ready)),
        },
    }
}

fn budget(plan: &Plan) -> Option<Statement> {
    let kind = "ConnectionBudget";
    match (&plan.stage, plan.connections) {
        (Stage::OverBudget(refusal), _) => Some(state(kind, false, "Exceeded", format!("{refusal}."))),
        (_, Some(connections)) => {
            Some(state(kind, true, "Fits", format!("Each pod may hold {connections} database connections.")))
        }
        _ => None,
    }
}
