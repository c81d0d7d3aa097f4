//! Reports that the API serves on its operations port for the operator.

use serde::{Deserialize, Serialize};

use crate::queue_stats::QueueStats;

/// `GET /lanes`: the queues. It fails while the database is unavailable, because stale statistics
/// would mislead autoscaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanesReport {
    pub lanes: Vec<QueueStats>,
}

/// `/health`: how the platform does. There is always an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    pub health: Health,
    /// Recoveries of the last hour, oldest first, at most twenty.
    pub recoveries: Vec<RecoveryRecord>,
}

/// Health score of a platform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// 0 to 100: the product of the parts.
    pub score: u8,
    pub parts: Vec<HealthPart>,
}

/// One component of the health score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthPart {
    pub name: String,
    /// 0 to 1; 1 is healthy.
    pub value: f64,
    /// Explanation, with the underlying figures.
    pub detail: String,
}

/// One automatic recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// Ascending.
    pub id: i64,
    /// Time, in RFC 3339.
    pub at: String,
    /// For instance `job-quarantined`.
    pub action: String,
    /// The job or worker concerned.
    pub subject: String,
    pub evidence: String,
}
