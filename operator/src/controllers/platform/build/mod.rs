//! Builders of the objects of a platform. Pure.

pub mod api_exposure;
pub mod bundled_services;
pub mod egress;
pub mod monitoring;
pub mod namespace_quota;
pub mod network_policies;
pub mod workloads;
