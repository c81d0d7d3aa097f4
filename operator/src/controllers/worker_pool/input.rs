//! All that the plan of a pool follows from. Pure.

use kube::api::ApiResource;

use crate::{
    controllers::worker_pool::{execution_provider::ExecutionProvider, scaling::Load},
    crd::WorkerPool,
    kubernetes::{prune::ObjectId, rollout::Rollout},
    resources::owner::Owner,
    spec::{secrets::Secrets, settings::Settings},
};

/// All that a pool's plan follows from.
#[derive(Debug, Clone)]
pub struct PoolInput {
    pub pool: WorkerPool,
    /// The pool as an owner.
    pub owner: Owner,
    /// None when there is no such platform.
    pub platform: Option<PlatformSnapshot>,
    /// Its Deployment, when there is one.
    pub rollout: Option<Rollout>,
    /// Where its models run, when it is to have GPUs and its pods have said so.
    pub provider: Option<ExecutionProvider>,
    /// Objects of its own that may no longer be wanted.
    pub optional: Vec<ObjectId>,
    /// Kinds that the cluster does not know, of those that it need not know.
    pub missing: Vec<ApiResource>,
    /// What is known about its size, where that follows the load.
    pub load: Load,
}

/// What a pool needs to know of its platform.
#[derive(Debug, Clone)]
pub struct PlatformSnapshot {
    pub settings: Settings,
    pub secrets: Secrets,
    /// Every pool of the platform, this one included.
    pub pools: Vec<WorkerPool>,
    /// The setup Job that last succeeded.
    pub setup_job: Option<String>,
    /// The platform as the owner of its setup.
    pub owner: Owner,
}
