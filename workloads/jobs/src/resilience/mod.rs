//! Staying useful while something else is not: trying again where that is safe, leaving alone what is down, and not working past the time of whoever waits.

pub mod breaker;
pub mod collector;
pub mod deadline;
mod retry;

pub use breaker::{Breaker, Broken, Open, Permit, Policy, State};
pub use retry::{full_jitter, repeat};
