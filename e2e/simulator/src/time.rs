//! Simulated time.

/// Milliseconds since the start of the simulation.
pub type Time = u64;

/// Converts seconds to milliseconds; negative values give 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and no simulation lasts that long"
)]
pub fn milliseconds(seconds: f64) -> Time {
    (seconds * 1000.0) as Time
}

/// Converts milliseconds to seconds.
pub fn seconds(time: Time) -> f64 {
    time as f64 / 1000.0
}
