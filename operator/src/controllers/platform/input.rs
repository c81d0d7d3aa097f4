//! The input of the plan of a platform.

use crate::{
    controllers::platform::{generated_secrets::GeneratedSecret, observed::Observed},
    crd::WorkerPool,
    resources::owner::Owner,
    spec::{secrets::Secrets, settings::Settings},
};

/// Everything that the plan of a platform depends on.
#[derive(Debug, Clone)]
pub struct PlatformInput {
    /// The spec with defaults.
    pub settings: Settings,
    /// The platform as an owner.
    pub owner: Owner,
    /// Existing Secrets, and those in `to_generate`.
    pub secrets: Secrets,
    /// Secrets to create, with generated values.
    pub to_generate: Vec<GeneratedSecret>,
    /// All pools of the platform.
    pub pools: Vec<WorkerPool>,
    /// The state of its objects in the cluster.
    pub observed: Observed,
}
