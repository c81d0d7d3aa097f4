//! Computes and writes the status of a platform.

use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::{Event, EventType};

use crate::{
    controllers::{
        apply::{Applied, Rejection},
        condition::merged_conditions,
        context::Context,
        health::grade,
        platform::{
            conditions::conditions,
            plan::{Plan, Stage},
            validate::ValidPlatform,
        },
        reconciler::Reconciled as _,
        status::{StatusUpdate, write_status},
    },
    crd::{AnalyticsPlatform, AnalyticsPlatformStatus, ConnectionAllocation, SetupStatus, conditions::EventReason},
    kubernetes::error::Error,
};

/// Writes the status of `platform`, and Events about its changes. An outdated plan leaves the
/// status unchanged.
///
/// # Errors
/// If the API server does not answer or refuses the write.
pub async fn update_status(
    platform: &AnalyticsPlatform,
    valid: &ValidPlatform,
    plan: &Plan,
    applied: &Applied,
    context: &Context,
) -> Result<StatusUpdate<AnalyticsPlatform>, Error> {
    let previous = platform.last_status(&context.cache);
    if applied.is_outdated() {
        return Ok(StatusUpdate { status: previous, changed: false });
    }
    let (rejection, unmonitored) = (applied.rejection(), applied.unmonitored());
    let generation = platform.metadata.generation;
    let status = status(&previous, generation, valid, plan, rejection, unmonitored, Timestamp::now());
    write_status(platform, &previous, status, generated(applied.created()), context).await
}

/// Computes the status of a platform. Pure.
///
/// `rejection` is the first write of the plan that the API server refused; `unmonitored` is its
/// message about a refused PodMonitor or PrometheusRule.
pub fn status(
    previous: &AnalyticsPlatformStatus,
    generation: Option<i64>,
    valid: &ValidPlatform,
    plan: &Plan,
    rejection: Option<&Rejection>,
    unmonitored: Option<&str>,
    now: Timestamp,
) -> AnalyticsPlatformStatus {
    let (settings, observed) = (&valid.input.settings, &valid.input.observed);
    let conditions = conditions(&previous.conditions, valid, plan, rejection, unmonitored);
    AnalyticsPlatformStatus {
        observed_generation: generation,
        environment: Some(settings.environment),
        url: observed.api.as_ref().map(|_| settings.url()),
        health: observed.health.as_ref().map(grade),
        setup: match (&plan.stage, &plan.setup_job) {
            (Stage::Running, Some(job)) => Some(SetupStatus { job: job.clone() }),
            _ => previous.setup.clone(),
        },
        connections: valid
            .budget
            .allocations
            .iter()
            .map(|allocation| ConnectionAllocation {
                role: allocation.role,
                size: signed(allocation.size),
                overflow: signed(allocation.overflow),
                pods_at_most: signed(allocation.pods_at_most),
                used_at_most: signed(allocation.used_at_most),
            })
            .collect(),
        conditions: merged_conditions(&previous.conditions, conditions, generation, now),
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn generated(secrets: &[String]) -> Option<Event> {
    (!secrets.is_empty()).then(|| Event {
        type_: EventType::Normal,
        reason: EventReason::SecretsGenerated.as_str().into(),
        note: Some(format!("generated with random values: {}", secrets.join(", "))),
        action: "Create".into(),
        secondary: None,
    })
}
