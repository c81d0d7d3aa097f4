//! The objects of a platform, part by part. Pure.

pub mod api_exposure;
pub mod bundled_services;
pub mod egress;
pub mod monitoring;
pub mod namespace_quota;
pub mod network_policies;
pub mod workloads;
