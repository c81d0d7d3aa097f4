//! Statistics of a queue, which the API reports and the operator scales by.

use serde::{Deserialize, Serialize};

use crate::{kind::Kind, lane::Lane};

/// Snapshot of one queue: a lane of a worker kind. Field names are those of `GET /admin/v1/lanes`.
///
/// All counts are of jobs. Followers, which share a leader's pipeline, are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QueueStats {
    pub kind: Kind,
    pub lane: Lane,
    /// Whether the queue is paused: no job is claimed.
    pub paused: bool,
    /// Jobs that a worker could claim now, including due retries and analyses whose parts are
    /// complete.
    pub depth: i64,
    /// Age of the oldest of them in seconds; 0 without one.
    pub oldest_age_seconds: f64,
    /// Jobs that workers run.
    pub running: i64,
    /// Failed jobs whose next attempt is not due yet.
    pub retrying: i64,
    /// Those that are due within the next minute.
    #[serde(default)]
    pub due_soon: i64,
    /// Analyses that wait for their parts. They occupy no slot now, and need one again to finish.
    pub waiting: i64,
    /// Jobs created per second, over the last five minutes.
    pub arrival_rate: f64,
    /// Jobs created per second, over the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent_arrival_rate: Option<f64>,
    /// Jobs finished per second, over the last five minutes.
    pub completion_rate: f64,
    /// Seconds for which a job occupies a slot, over all its attempts: the mean of jobs that
    /// finished in the last five minutes, or of the last ones before. `None` if no job has
    /// finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_seconds: Option<f64>,
}

impl QueueStats {
    /// The statistics of an empty queue.
    pub const fn quiet(kind: Kind, lane: Lane) -> Self {
        Self {
            kind,
            lane,
            paused: false,
            depth: 0,
            oldest_age_seconds: 0.0,
            running: 0,
            retrying: 0,
            due_soon: 0,
            waiting: 0,
            arrival_rate: 0.0,
            recent_arrival_rate: None,
            completion_rate: 0.0,
            service_seconds: None,
        }
    }
}
