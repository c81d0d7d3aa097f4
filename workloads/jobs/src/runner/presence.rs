//! Heartbeats of a worker process.
//!
//! Leases have heartbeats of their own. These distinguish an idle worker from one that is gone, and
//! a worker that was cut off from one that crashed.

use std::time::Duration;

use switchyard_contract::Kind;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::leases::ActiveLeases;
use crate::{
    resilience::deadline,
    service::memory,
    store::{Store, WorkerHeartbeat},
};

/// Limit for deregistration: a process that shuts down has little time.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// What a worker process reports about itself.
pub(super) struct Presence {
    pub worker: String,
    pub pool: String,
    pub kind: Kind,
    pub concurrency: u32,
    pub memory_limit: Option<u64>,
    pub began: Instant,
    pub leases: ActiveLeases,
    /// Cancelled when the process claims no more jobs.
    pub draining: CancellationToken,
}

impl Presence {
    /// Sends a heartbeat now and every ten seconds. Runs for ever.
    pub(super) async fn send_heartbeats(&self, store: &Store) {
        let mut ticks = interval(HEARTBEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let heartbeat = WorkerHeartbeat {
                name: &self.worker,
                pool: &self.pool,
                kind: self.kind,
                concurrency: self.concurrency,
                running: self.leases.len(),
                memory_bytes: memory::resident().unwrap_or_default(),
                memory_limit_bytes: self.memory_limit,
                draining: self.draining.is_cancelled(),
                uptime_seconds: self.began.elapsed().as_secs_f64(),
            };
            if let Err(error) = store.worker_seen(&heartbeat).await {
                tracing::debug!(%error, "could not send worker heartbeat");
            }
        }
    }

    /// Deregisters the process after an orderly shutdown. If that fails, its heartbeats just stop.
    pub(super) async fn leave(&self, store: &Store) {
        let left = deadline::scope(Instant::now() + LEAVE_TIMEOUT, store.worker_gone(&self.worker)).await;
        if let Err(error) = left {
            tracing::debug!(%error, "could not deregister worker");
        }
    }
}
