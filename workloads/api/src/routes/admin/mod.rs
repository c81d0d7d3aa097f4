//! The admin API: diagnostics, tenants with their keys and credits, dead letters, lanes, and the
//! jobs of every tenant.

pub mod dead;
pub mod diagnostics;
pub mod jobs;
pub mod lanes;
pub mod tenants;
