//! Applies the plan of a platform.

use crate::{
    controllers::{
        apply::{self, Applied, Changes},
        platform::{plan::Plan, validate::ValidPlatform},
    },
    kubernetes::{applier::Applier, error::Error},
};

/// Applies `plan`, unless the platform is paused.
///
/// # Errors
/// If the API server does not answer. A refusal is no error: see [`Applied::rejection`].
pub async fn apply(applier: &Applier, valid: &ValidPlatform, plan: &Plan) -> Result<Applied, Error> {
    let settings = &valid.input.settings;
    let changes = if settings.paused {
        Changes::default()
    } else {
        Changes {
            create: &plan.create,
            delete_jobs: &plan.delete_jobs,
            delete: &plan.delete,
            apply: &plan.apply,
            scaled: &plan.scaled,
            ..Changes::default()
        }
    };
    apply::apply(applier, &settings.namespace, changes).await
}
