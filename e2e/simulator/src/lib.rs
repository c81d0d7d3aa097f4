//! Simulates worker pools under load: jobs that come, pods that start and drain, the `HorizontalPodAutoscaler`, and a rule that tells it how many pods
//! are wanted. Time is counted in milliseconds, and chance comes from a seed: the same seed gives the same run.

pub mod facts;
pub mod fleet;
pub mod hpa;
pub mod pattern;
pub mod report;
pub mod rule;
pub mod run;
pub mod tally;

/// Milliseconds since the beginning.
pub type Time = u64;

/// As milliseconds; of a negative number 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and no simulation lasts that long"
)]
pub fn milliseconds(seconds: f64) -> Time {
    (seconds * 1000.0) as Time
}

/// As seconds.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub fn seconds(time: Time) -> f64 {
    time as f64 / 1000.0
}
