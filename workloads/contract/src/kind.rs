use crate::{Role, names};

names! {
    /// What a worker pool does. Each kind has queues, a database role and Deployments of its own, so that load on one never slows another.
    Kind, "worker kind", {
        /// Profile analysis: fetches a profile, fans out, joins and aggregates.
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
