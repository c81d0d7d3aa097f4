//! What the platform's admin can do: tenants and their keys and credits, dead letters, lanes, everyone's jobs.

pub mod dead;
pub mod jobs;
pub mod lanes;
pub mod tenants;
