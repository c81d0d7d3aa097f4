//! The job core: jobs and their store (PostgreSQL), the tickets that wake workers (RabbitMQ), and
//! the runner that executes jobs.
//!
//! PostgreSQL is the source of truth. A broker message is a ticket: it says that a queue has
//! claimable jobs, and names none of them. A lost ticket only delays a job, until the relay
//! publishes another.
//!
//! A worker implements [`handler::Handler`] and passes it to [`runner::Runner::run`]:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use serde_json::json;
//! use switchyard_jobs::{
//!     handler::{ClaimedJob, Handler, Outcome, RunContext},
//!     model::JobError,
//!     runner::{Runner, RunnerError},
//! };
//! use tokio_util::sync::CancellationToken;
//!
//! /// Counts the letters of a profile's name.
//! struct CountLetters;
//!
//! #[async_trait::async_trait]
//! impl Handler for CountLetters {
//!     async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
//!         if job.username.is_empty() {
//!             return Err(JobError::permanent("invalid-input", "the name is empty"));
//!         }
//!         context.progress.report(50, "counting");
//!         Ok(Outcome::Complete(json!({ "letters": job.username.chars().count() })))
//!     }
//! }
//!
//! # async fn example(runner: Runner, shutdown: CancellationToken) -> Result<(), RunnerError> {
//! runner.run(Arc::new(CountLetters), shutdown).await
//! # }
//! ```

pub mod announce;
pub mod broker;
pub mod cache;
pub mod events;
pub mod handler;
pub mod json;
pub mod maintenance;
pub mod model;
pub mod recovery;
pub mod reference;
pub mod resilience;
pub mod runner;
pub mod service;
pub mod setup;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
