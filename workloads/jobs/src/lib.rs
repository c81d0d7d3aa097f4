//! The job core: what a job is, where it lives (PostgreSQL), how workers hear of it (RabbitMQ), and what runs it.
//!
//! PostgreSQL is the truth. A message only says 'look here': it carries a job's id and nothing that could be lost.

pub mod announce;
pub mod broker;
pub mod cache;
pub mod events;
pub mod handler;
pub mod json;
pub mod maintenance;
pub mod model;
pub mod recovery;
pub mod resilience;
pub mod runner;
pub mod service;
pub mod setup;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
