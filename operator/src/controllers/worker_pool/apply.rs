//! Applies the plan of a pool.

use crate::{
    controllers::{
        apply::{self, Applied, Changes},
        worker_pool::{plan::Plan, validate::ValidPool},
    },
    kubernetes::{applier::Applier, error::Error},
};

/// Applies `plan`.
///
/// # Errors
/// If the API server does not answer. A refusal is no error: see [`Applied::rejection`].
pub async fn apply(applier: &Applier, valid: &ValidPool, plan: &Plan) -> Result<Applied, Error> {
    // The Deployment has the pool's name.
    let name = valid.input.pool.metadata.name.clone().unwrap_or_default();
    let changes = Changes {
        delete: &plan.delete,
        apply: &plan.apply,
        scaled: if plan.scaled { std::slice::from_ref(&name) } else { &[] },
        set_replicas: plan.only_replicas.map(|replicas| (&*name, replicas)),
        step_replicas: plan.step.map(|replicas| (&*name, replicas)),
        ..Changes::default()
    };
    apply::apply(applier, &valid.input.owner.namespace, changes).await
}
