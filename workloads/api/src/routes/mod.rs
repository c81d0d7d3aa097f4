//! Handlers, one file a resource.

pub mod admin;
pub mod analyses;
pub mod console;
pub mod document;
pub mod job_events;
pub mod jobs;
pub mod ledger;
pub mod profiles;
pub mod usage;
pub mod username;
