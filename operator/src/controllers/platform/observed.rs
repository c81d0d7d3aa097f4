//! What is there right now, boiled down to what decisions and conditions need. Pure.

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

/// What is there of one platform.
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
    /// Objects of its own that may no longer be wanted.
    pub optional: Vec<ObjectId>,
    /// Kinds that the cluster does not know, of those that it need not know.
    pub missing: Vec<ApiResource>,
    /// How well it does, as its API tells.
    pub health: Option<Health>,
}

impl Observed {
    /// The same with what the platform's pods say.
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
