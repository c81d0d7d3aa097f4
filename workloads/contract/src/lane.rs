//! Priority lanes and their limits.

use serde::{Deserialize, Serialize};

use crate::name::names;

names! {
    /// A priority lane. Every worker kind has one queue for each lane.
    Lane, "lane", {
        Critical = "critical",
        High = "high",
        Normal = "normal",
        Low = "low",
    }
}

/// Limits of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaneLimits {
    /// Requests that may be queued in this lane; beyond it requests are refused with `lane-full`.
    pub capacity: u32,
    /// Analyses of this lane that may run at once in the whole platform. Their parts are not
    /// counted separately.
    pub max_running: u32,
    /// Seconds that one attempt of a job may run.
    pub timeout_seconds: u64,
}

/// The limits of the four lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lanes {
    pub critical: LaneLimits,
    pub high: LaneLimits,
    pub normal: LaneLimits,
    pub low: LaneLimits,
}

impl Lanes {
    /// The limits of `lane`.
    pub const fn get(&self, lane: Lane) -> &LaneLimits {
        match lane {
            Lane::Critical => &self.critical,
            Lane::High => &self.high,
            Lane::Normal => &self.normal,
            Lane::Low => &self.low,
        }
    }
}

impl Default for Lanes {
    /// The platform's documented lanes: capacity / maxRunning / timeout.
    fn default() -> Self {
        let lane = |capacity, max_running, timeout_seconds| LaneLimits { capacity, max_running, timeout_seconds };
        Self { critical: lane(50, 3, 30), high: lane(200, 5, 120), normal: lane(500, 8, 300), low: lane(1000, 4, 600) }
    }
}
