//! The result of draining a backlog.

/// A drained backlog.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    pub jobs: u32,
    /// From the first finished job to the last, by the times in PostgreSQL. So startup time does
    /// not count.
    pub seconds: f64,
}

impl Drained {
    /// Jobs finished per second.
    pub fn per_second(self) -> f64 {
        f64::from(self.jobs.saturating_sub(1)) / self.seconds.max(1e-3)
    }
}
