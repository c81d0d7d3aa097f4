//! The heartbeat of leader election, for the liveness probe.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Without a beat for this long, leader election has stalled. It beats every 2 s, and waits at most
/// 15 s for the API server.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// The last beat of leader election, on which all work of the operator depends. Clones share it.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    started: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { started: Instant::now(), last: Arc::default() }
    }
}

impl Heartbeat {
    /// Records a beat.
    pub fn beat(&self) {
        self.last.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Whether the last beat is less than a minute old.
    pub fn is_alive(&self) -> bool {
        self.started.elapsed().saturating_sub(Duration::from_secs(self.last.load(Ordering::Relaxed))) < STALLED_AFTER
    }
}
