//! Brings the cluster to the plan.

use crate::{
    controllers::platform::{credentials::Problem, plan::Plan},
    kubernetes::{applier::Cluster, error::Error, kinds::is_monitoring},
    spec::component::Component,
};

/// What came of applying a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Secrets that were created, by name.
    pub created: Vec<String>,
    /// What the API server would not take, in its words. The rest was applied.
    pub refused: Option<Problem>,
    /// What the API server would not take of what has the platform watched: it serves all the same.
    pub unwatched: Option<String>,
    /// Whether a Secret that was to be created was there after all, so that the plan was made of other values than the cluster's.
    pub outdated: bool,
}

/// Applies `plan` in the namespace `namespace`.
///
/// # Errors
/// When the API server does not answer. What it refuses is no error but told in the result.
pub async fn apply(cluster: &Cluster, namespace: &str, plan: &Plan) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    for secret in &plan.create {
        match cluster.create(secret).await {
            Ok(true) => applied.created.push(secret.name().to_owned()),
            Ok(false) => applied.outdated = true,
            Err(error) => applied.refuse(error)?,
        }
    }
    // Without its Secrets nothing would start, and with others than the plan's it would start wrongly.
    if applied.outdated || applied.refused.is_some() {
        return Ok(applied);
    }
    for job in &plan.delete_jobs {
        cluster.delete_job(namespace, job).await.or_else(|error| applied.refuse(error))?;
    }
    for found in &plan.delete {
        cluster.delete(namespace, found).await.or_else(|error| applied.refuse(error))?;
    }
    for manifest in &plan.apply {
        let scaled = manifest.resource.kind == "Deployment" && plan.scaled.iter().any(|name| name == manifest.name());
        let watches = is_monitoring(&manifest.resource);
        match cluster.apply(manifest, scaled).await {
            Err(Error::Refused { what, words, .. }) if watches => applied.unwatched = Some(format!("{what}: {words}")),
            outcome => outcome.or_else(|error| applied.refuse(error))?,
        }
    }
    Ok(applied)
}

impl Applied {
    /// Remembers the first refusal; hands on what is worth another try.
    fn refuse(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Refused { what, reason, words } => {
                self.refused.get_or_insert(Problem {
                    component: Component::Api,
                    reason,
                    message: format!("{what}: {words}"),
                });
                Ok(())
            }
            other => Err(other),
        }
    }
}
