//! Kinds of workers.

use crate::{name::names, role::Role};

names! {
    /// The kind of a worker pool. Each kind has its own queues and Deployments, so that load on one
    /// does not slow another.
    Kind, "worker kind", {
        /// Analyses profiles: fetches one, spawns jobs for its parts, joins and aggregates their
        /// results.
        General = "general",
        /// Fetches, verifies, resizes and stores images.
        Cdn = "cdn",
        /// Finds profiles related to an analysed one.
        Discovery = "discovery",
        /// Runs the models.
        Ai = "ai",
    }
}

impl Kind {
    /// The database role that workers of this kind log in as.
    pub const fn role(self) -> Role {
        match self {
            Self::General | Self::Cdn => Role::Workers,
            Self::Discovery => Role::Discovery,
            Self::Ai => Role::AiWorkers,
        }
    }
}
