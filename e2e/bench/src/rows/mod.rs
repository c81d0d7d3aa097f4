//! The rows of the report: each measures its sides in turns and adds what came out.

pub mod alone;
pub mod backlog;
pub mod growth;
pub mod handoff;
pub mod messages;
pub mod posts;
pub mod watching;

use std::time::Duration;

use crate::{load::Plan, report::Report};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Of one measurement.
    pub duration: Duration,
    /// Each side is measured so many times, in turns.
    pub rounds: usize,
    /// Finished jobs in the large table; 0 leaves that row out.
    pub rows: u64,
}

impl Scale {
    /// A load on `address`: a quarter of the duration to warm up, and the duration.
    fn plan(&self, address: std::net::SocketAddr, connections: usize) -> Plan {
        Plan { address, connections, warm_up: self.duration / 4, duration: self.duration }
    }
}

/// Notes answers that were no success.
fn note(report: &mut Report, whose: &str, what: &str, tally: &crate::load::Tally) {
    if let Some(trouble) = tally.trouble() {
        report.remark(format!("{whose}, {what}: {trouble}"));
    }
}

/// Tells whoever watches what is being done.
pub fn say(words: &str) {
    eprintln!("[{}] {words}", chrono::Utc::now().format("%H:%M:%S"));
}
