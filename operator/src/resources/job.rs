//! Job of the setup.

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::PodTemplateSpec,
};

use crate::resources::owner::Owner;

/// Seconds after which a setup is terminated.
const DEADLINE: i64 = 600;

/// A Job that runs one pod once. The controller decides about a retry.
pub fn job(owner: &Owner, name: &str, component: &str, template: PodTemplateSpec) -> Job {
    Job {
        metadata: owner.meta(name, component),
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(DEADLINE),
            template,
            ..JobSpec::default()
        }),
        status: None,
    }
}
