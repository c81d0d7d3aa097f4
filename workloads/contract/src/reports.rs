//! What an API tells about its platform on its operations port, and the operator reads.

use serde::{Deserialize, Serialize};

use crate::QueueStats;

/// `/lanes`: what waits. There is no answer while the database gives none: no facts are better than old ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanesReport {
    pub lanes: Vec<QueueStats>,
}

/// `/health`: how the platform does. There is always an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    pub health: Health,
    /// What was healed within the last hour, oldest first, twenty at most.
    pub recoveries: Vec<RecoveryRecord>,
}

/// How well a platform does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// 0 to 100: the product of the parts.
    pub score: u8,
    pub parts: Vec<HealthPart>,
}

/// One side of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthPart {
    pub name: String,
    /// 0 to 1; 1 is in good order.
    pub value: f64,
    /// In words, with the figures that it is made of.
    pub detail: String,
}

/// What was healed without anybody asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// Counts up.
    pub id: i64,
    /// RFC 3339.
    pub at: String,
    /// For instance `job-quarantined`.
    pub action: String,
    /// The job or worker that it happened to.
    pub subject: String,
    pub evidence: String,
}
