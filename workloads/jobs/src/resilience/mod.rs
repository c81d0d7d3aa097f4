//! Circuit breakers, deadlines and backoff.

pub mod backoff;
pub mod breaker;
mod breaker_metrics;
pub mod deadline;

pub use backoff::full_jitter;
pub use breaker::{Breaker, CallError, Open, Permit, Policy, State};
pub use breaker_metrics::Breakers;
