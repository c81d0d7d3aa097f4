//! Runs the controller of a custom resource.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _, stream};
use kube::{
    ResourceExt as _,
    runtime::{
        Controller,
        controller::{Action, Config},
        reflector::ObjectRef,
    },
};

use crate::{
    controllers::{
        context::Context,
        reconciler::{Reconciled, Reconciler},
        status::report_refusal,
    },
    kubernetes::error::Error,
};

/// Objects that a controller reconciles at once. Most of the time they wait for the API server.
const CONCURRENCY: u16 = 12;

/// Changes of an object within this time are reconciled once.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Runs the controller of `K` on `requests`. Never returns.
pub async fn run<K: Reconciled>(context: Context, requests: impl Stream<Item = ObjectRef<K>> + Send + 'static) {
    Controller::for_stream(stream::pending(), K::store(&context.cache))
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .reconcile_on(requests)
        .run(reconcile, error_policy, Arc::new(Reconciler::new(context)))
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile<K: Reconciled>(object: Arc<K>, reconciler: Arc<Reconciler<K>>) -> Result<Action, Error> {
    if object.meta().deletion_timestamp.is_some() {
        // The garbage collector deletes its dependents.
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let result = object.reconcile(&reconciler).await;
    match &result {
        Ok(_) => reconciler.context.metrics.reconciled(&K::kind(&()), started.elapsed()),
        Err(error) => report_refusal(&*object, error, &reconciler.context).await,
    }
    result
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that kube requires")]
fn error_policy<K: Reconciled>(object: Arc<K>, error: &Error, reconciler: Arc<Reconciler<K>>) -> Action {
    let (kind, name) = (K::kind(&()), object.name_any());
    reconciler.context.metrics.error(&kind, error.category());
    let delay = reconciler.retry_after(&object);
    tracing::warn!(kind = &*kind, name, %error, retry_after_seconds = delay.as_secs(), "could not reconcile");
    Action::requeue(delay)
}
