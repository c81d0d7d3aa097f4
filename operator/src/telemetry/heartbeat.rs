//! The sign of life of the election.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The election beats at least this often while the process is alive.
const SILENCE: Duration = Duration::from_secs(60);

/// The last sign of life of the election, which is what the whole operator hangs on.
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
    /// Gives a sign of life.
    pub fn beat(&self) {
        self.last.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Whether there was one lately.
    pub fn is_alive(&self) -> bool {
        self.started.elapsed().saturating_sub(Duration::from_secs(self.last.load(Ordering::Relaxed))) < SILENCE
    }
}
