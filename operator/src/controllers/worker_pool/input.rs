//! The input of the plan of a pool.

use kube::api::ApiResource;

use crate::{
    controllers::worker_pool::{execution_provider::ExecutionProvider, scaling::Load},
    crd::WorkerPool,
    kubernetes::{prune::ObjectId, rollout::Rollout},
    resources::owner::Owner,
    spec::{secrets::Secrets, settings::Settings},
};

/// Everything that the plan of a pool depends on.
#[derive(Debug, Clone)]
pub struct PoolInput {
    /// The pool.
    pub pool: WorkerPool,
    /// The pool as an owner.
    pub owner: Owner,
    /// Its platform, if it exists.
    pub platform: Option<PlatformSnapshot>,
    /// The state of its Deployment, if it exists.
    pub rollout: Option<Rollout>,
    /// Where its models run, for a pool with GPUs whose pods have reported it.
    pub provider: Option<ExecutionProvider>,
    /// Owned objects of optional kinds: those that are not desired are deleted.
    pub optional: Vec<ObjectId>,
    /// Optional kinds that the cluster does not have.
    pub missing: Vec<ApiResource>,
    /// The state that its size depends on, if the pool is scaled.
    pub load: Load,
}

/// The state of its platform that the plan of a pool needs.
#[derive(Debug, Clone)]
pub struct PlatformSnapshot {
    /// The spec with defaults.
    pub settings: Settings,
    /// The Secrets of the platform.
    pub secrets: Secrets,
    /// All pools of the platform, this one included.
    pub pools: Vec<WorkerPool>,
    /// Name of the setup Job that succeeded last.
    pub setup_job: Option<String>,
    /// The platform as the owner of its setup.
    pub owner: Owner,
}
