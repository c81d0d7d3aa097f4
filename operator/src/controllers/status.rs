//! Writes the status of a custom resource, and Events about what changed in it.

use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::Event;

use crate::{
    controllers::{
        condition,
        context::Context,
        reconciler::{Reconciled, ResourceStatus as _},
    },
    kubernetes::error::Error,
};

/// A status as it was written.
pub struct StatusUpdate<K: Reconciled> {
    pub status: K::Status,
    /// Whether it differs from the last one.
    pub changed: bool,
}

/// Writes `status` if it differs from `previous`, and publishes what changed, with `event` before it.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn write_status<K: Reconciled>(
    object: &K,
    previous: &K::Status,
    status: K::Status,
    event: Option<Event>,
    context: &Context,
) -> Result<StatusUpdate<K>, Error> {
    let changed = status != *previous;
    if changed {
        context.applier.write_status(object, &status, K::to_cached).await?;
        context.metrics.status_written(&K::kind(&()));
    }
    let events = event.into_iter().chain(condition::events(previous.conditions(), status.conditions()));
    context.publish(object, &events.collect::<Vec<_>>()).await;
    Ok(StatusUpdate { status, changed })
}

/// Says in the conditions that the API server refuses what has to be read of `object`. Other errors pass by themselves.
pub async fn report_refusal<K: Reconciled>(object: &K, error: &Error, context: &Context) {
    let Error::Refused { reason, .. } = error else { return };
    let previous = object.last_status(&context.cache);
    let generation = object.meta().generation;
    let conditions =
        condition::unreadable(previous.conditions(), reason, &error.to_string(), generation, Timestamp::now());
    let status = previous.clone().with_conditions(generation, conditions);
    if let Err(error) = write_status(object, &previous, status, None, context).await {
        tracing::warn!(%error, "nor can it be told");
    }
}
