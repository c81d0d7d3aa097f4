//! Switchyard's HTTP API.

pub mod admin;
pub mod admin_key;
mod analyses;
pub mod analysis_result;
mod auth;
pub mod bucket;
mod events;
mod gate;
pub mod http_metrics;
mod identities;
mod input;
mod jobs;
mod layers;
mod openapi;
mod problem;
mod process_metrics;
mod profiles;
pub mod rate;
pub mod router;
pub mod serve;
pub mod server;
pub mod setup;
pub mod state;
pub mod termination;
mod usage;
mod username;
mod views;
