//! Applies a plan to the cluster.

use crate::{
    crd::conditions::Reason,
    kubernetes::{applier::Applier, error::Error, kinds::is_monitoring, prune::ObjectId},
    resources::manifest::Manifest,
};

/// The writes of a plan, in the order of execution.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// Objects to create if they do not exist. Existing ones are not changed.
    pub create: &'a [Manifest],
    /// Names of Jobs to delete.
    pub delete_jobs: &'a [String],
    /// Objects to delete.
    pub delete: &'a [ObjectId],
    /// Objects to apply.
    pub apply: &'a [Manifest],
    /// Names of Deployments in `apply` whose replicas an autoscaler owns.
    pub scaled: &'a [String],
    /// Name and replicas of a Deployment whose other fields must not change.
    pub set_replicas: Option<(&'a str, i32)>,
    /// Name and replicas of a Deployment that the operator scales instead of its autoscaler.
    pub step_replicas: Option<(&'a str, i32)>,
}

/// A write that the API server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A stable reason.
    pub reason: Reason,
    /// The object, and the server's message.
    pub message: String,
}

/// The result of applying a plan. Only [`apply`] creates one, and the status is computed from it.
#[derive(Debug)]
pub struct Applied {
    created: Vec<String>,
    rejection: Option<Rejection>,
    unmonitored: Option<String>,
    outdated: bool,
}

impl Applied {
    /// Names of the objects that were created.
    pub fn created(&self) -> &[String] {
        &self.created
    }

    /// The first write that the API server refused. The other writes are made.
    pub const fn rejection(&self) -> Option<&Rejection> {
        self.rejection.as_ref()
    }

    /// The refusal of a PodMonitor or PrometheusRule. The platform serves nevertheless.
    pub fn unmonitored(&self) -> Option<&str> {
        self.unmonitored.as_deref()
    }

    /// Whether an object to create existed already, so that the plan was made from other values
    /// than the cluster's.
    pub const fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// Whether the object must be reconciled again soon.
    pub const fn must_be_retried(&self) -> bool {
        self.outdated || self.rejection.is_some()
    }

    /// Records the first refusal. Other errors are returned, since a retry may succeed.
    fn record(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Err(Error::Refused { action, reason, message }) => {
                self.rejection.get_or_insert(Rejection { reason, message: format!("{action}: {message}") });
                Ok(())
            }
            other => other,
        }
    }
}

/// Makes `changes` in `namespace`.
///
/// # Errors
/// If the API server does not answer. A refusal is no error: see [`Applied::rejection`].
pub async fn apply(applier: &Applier, namespace: &str, changes: Changes<'_>) -> Result<Applied, Error> {
    let mut applied = Applied { created: Vec::new(), rejection: None, unmonitored: None, outdated: false };
    for manifest in changes.create {
        match applier.create(manifest).await {
            Ok(true) => applied.created.push(manifest.name().to_owned()),
            Ok(false) => applied.outdated = true,
            Err(error) => applied.record(Err(error))?,
        }
    }
    // Workloads would not start without their Secrets, or would start with the wrong values.
    if applied.must_be_retried() {
        return Ok(applied);
    }
    for job in changes.delete_jobs {
        applied.record(applier.delete_job(namespace, job).await)?;
    }
    for object in changes.delete {
        applied.record(applier.delete(namespace, object).await)?;
    }
    for manifest in changes.apply {
        let scaled =
            manifest.resource.kind == "Deployment" && changes.scaled.iter().any(|name| name == manifest.name());
        match applier.apply(manifest, scaled).await {
            Err(Error::Refused { action, message, .. }) if is_monitoring(&manifest.resource) => {
                applied.unmonitored = Some(format!("{action}: {message}"));
            }
            result => applied.record(result)?,
        }
    }
    if let Some((deployment, replicas)) = changes.set_replicas {
        applied.record(applier.set_replicas(namespace, deployment, replicas).await)?;
    }
    if let Some((deployment, replicas)) = changes.step_replicas {
        applied.record(applier.step_replicas(namespace, deployment, replicas).await)?;
    }
    Ok(applied)
}
