//! How long and how often a scenario measures.

use std::{net::SocketAddr, time::Duration};

use crate::load::Plan;

/// Duration and repetitions of every scenario.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Duration of one measurement.
    pub duration: Duration,
    /// Rounds, each of which measures every system once.
    pub rounds: usize,
    /// Finished jobs in the large table; 0 skips the growth scenario.
    pub finished_jobs: u64,
}

impl Settings {
    /// A load on `address`: a warm-up of a quarter of the duration, then the duration.
    pub fn plan(&self, address: SocketAddr, connections: usize) -> Plan {
        Plan { address, connections, warm_up: self.duration / 4, duration: self.duration }
    }
}
