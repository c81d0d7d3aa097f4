//! What the platform's admin can see and do: health, workers, connections, tenants and their keys and credits, dead letters, lanes, everyone's jobs.

pub mod dead;
pub mod diagnostics;
pub mod jobs;
pub mod lanes;
pub mod tenants;
