//! The observed state of a platform. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ApiResource;
use switchyard_contract::Health;

use crate::{
    kubernetes::{
        prune::ObjectId,
        rollout::{JobState, Rollout},
    },
    spec::{
        component::Component,
        names::{COMPONENT_LABEL, POOL_LABEL},
    },
};

/// The state of a platform in the cluster, as far as plan and conditions need it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// Setup Jobs by name.
    pub jobs: BTreeMap<String, JobState>,
    /// Bundled servers.
    pub servers: BTreeMap<Component, Rollout>,
    /// The API's Deployment.
    pub api: Option<Rollout>,
    /// Deployments of pools, by the pool's name.
    pub pools: BTreeMap<String, Rollout>,
    /// Owned objects of optional kinds: those that are not desired are deleted.
    pub optional: Vec<ObjectId>,
    /// Optional kinds that the cluster does not have.
    pub missing: Vec<ApiResource>,
    /// Its health as its API reports it.
    pub health: Option<Health>,
}

impl Observed {
    /// Adds the errors of the platform's pods.
    pub fn with_pods(mut self, pods: &[Pod]) -> Self {
        let with = |label: &str, value: &str| -> Vec<Pod> {
            pods.iter()
                .filter(|pod| {
                    pod.metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|v| v == value)
                })
                .cloned()
                .collect()
        };
        for (name, job) in &mut self.jobs {
            *job = job.clone().with_pods(&with("batch.kubernetes.io/job-name", name));
        }
        for (component, server) in &mut self.servers {
            *server = server.clone().with_pods(&with(COMPONENT_LABEL, component.as_str()));
        }
        for (name, pool) in &mut self.pools {
            *pool = pool.clone().with_pods(&with(POOL_LABEL, name));
        }
        self.api = self.api.map(|api| api.with_pods(&with(COMPONENT_LABEL, "api")));
        self
    }
}
