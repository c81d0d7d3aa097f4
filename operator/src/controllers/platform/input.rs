//! All that the plan of a platform follows from. Pure.

use crate::{
    controllers::platform::{generated_secrets::Generated, observed::Observed},
    crd::WorkerPool,
    resources::owner::Owner,
    spec::{secrets::Secrets, settings::Settings},
};

/// All that a plan follows from.
#[derive(Debug, Clone)]
pub struct PlatformInput {
    pub settings: Settings,
    pub owner: Owner,
    /// Secrets that there are, with those that are about to be created.
    pub secrets: Secrets,
    /// Generated Secrets that do not exist yet.
    pub to_generate: Vec<Generated>,
    /// Every pool of the platform.
    pub pools: Vec<WorkerPool>,
    pub observed: Observed,
}
