//! Simulates worker pools under load: arriving jobs, pods that start and drain, the
//! `HorizontalPodAutoscaler`, and a rule that gives it the desired number of pods.
//!
//! Time is in milliseconds. Randomness comes from a seed: the same seed gives the same run.

pub mod hpa;
pub mod pattern;
pub mod pods;
pub mod queue;
pub mod report;
pub mod rule;
pub mod run;
pub mod tally;
pub mod time;
