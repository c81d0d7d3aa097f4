//! The sides of the comparisons: how each is made ready, started and asked how far it is.

pub mod celery;
pub mod fastapi;
pub mod perf_test;
pub mod pgbench;
pub mod river;
pub mod switchyard;

/// A backlog that was worked off.
#[derive(Debug, Clone, Copy)]
pub struct Burnt {
    pub jobs: u32,
    /// From the first finished job to the last, by the times in PostgreSQL. So no side pays for its start.
    pub seconds: f64,
}

impl Burnt {
    /// Jobs finished a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.jobs.saturating_sub(1)) / self.seconds.max(1e-3)
    }
}
