//! What the API tells about a queue, and the operator makes capacity of.

use serde::{Deserialize, Serialize};

use crate::{Kind, Lane};

/// One queue (a worker kind's lane) as the database knows it at one moment. Field names are those of `GET /admin/v1/lanes`.
///
/// All counts are of jobs; requests that share another's pipeline are left out of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QueueStats {
    pub kind: Kind,
    pub lane: Lane,
    /// Whether claims are stopped.
    pub paused: bool,
    /// Jobs that a worker could claim now, due retries and analyses that have all their parts among them.
    pub depth: i64,
    /// Seconds for which the oldest of them has been waiting; 0 when there is none.
    pub oldest_age_seconds: f64,
    /// Jobs that a worker holds.
    pub running: i64,
    /// Failed jobs whose next attempt is not due yet.
    pub retrying: i64,
    /// Those of them that are due within the next minute.
    #[serde(default)]
    pub due_soon: i64,
    /// Analyses that wait for their parts. They hold no worker, and will need one once more.
    pub waiting: i64,
    /// Jobs made per second, over the last five minutes.
    pub arrival_rate: f64,
    /// Jobs made per second, over the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent_arrival_rate: Option<f64>,
    /// Jobs ended per second, over the last five minutes.
    pub completion_rate: f64,
    /// Seconds for which a job holds a worker's slot, over all its attempts and parts of attempts: the mean of those that ended in the last five
    /// minutes, and where none did, of the last that did. None where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_seconds: Option<f64>,
}

impl QueueStats {
    /// A queue in which nothing waits, runs or comes.
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
