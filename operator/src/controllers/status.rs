//! Writes the status of a custom resource, and Events about its changes.

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

/// The outcome of writing a status.
pub struct StatusUpdate<K: Reconciled> {
    /// The current status.
    pub status: K::Status,
    /// Whether it differs from the previous one.
    pub changed: bool,
}

/// Writes `status` if it differs from `previous`. Publishes `event` and Events about the changes.
///
/// # Errors
/// If the API server does not answer or refuses the write.
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

/// Reports in the conditions that the API server refuses a read that `object` needs. Other errors
/// are only retried.
pub async fn report_refusal<K: Reconciled>(object: &K, error: &Error, context: &Context) {
    let Error::Refused { reason, .. } = error else { return };
    let previous = object.last_status(&context.cache);
    let generation = object.meta().generation;
    let conditions =
        condition::unreadable(previous.conditions(), reason, &error.to_string(), generation, Timestamp::now());
    let status = previous.clone().with_conditions(generation, conditions);
    if let Err(error) = write_status(object, &previous, status, None, context).await {
        tracing::warn!(%error, "could not update status");
    }
}
