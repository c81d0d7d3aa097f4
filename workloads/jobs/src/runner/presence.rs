//! A worker process tells that it is there. Claims have heartbeats of their own; this is what tells a worker that has nothing to do from one that is gone,
//! and one that was only cut off from one that ended.

use std::time::Duration;

use switchyard_contract::Kind;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::held::Claims;
use crate::{
    resilience::deadline,
    service::memory,
    store::{Store, WorkerSign},
};

/// How long the last sign may take: the process has little time.
const FAREWELL: Duration = Duration::from_secs(2);
/// Between two signs.
const EVERY: Duration = Duration::from_secs(10);

/// What a worker process tells of itself.
pub(super) struct Presence {
    pub worker: String,
    pub pool: String,
    pub kind: Kind,
    pub concurrency: u32,
    pub memory_limit: Option<u64>,
    pub began: Instant,
    pub claims: Claims,
    /// Fires when the process takes no more jobs.
    pub draining: CancellationToken,
}

impl Presence {
    /// Tells now and every ten seconds. Runs for ever.
    pub(super) async fn keep(&self, store: &Store) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sign = WorkerSign {
                name: &self.worker,
                pool: &self.pool,
                kind: self.kind,
                concurrency: self.concurrency,
                running: self.claims.len(),
                memory_bytes: memory::resident().unwrap_or_default(),
                memory_limit_bytes: self.memory_limit,
                draining: self.draining.is_cancelled(),
                uptime_seconds: self.began.elapsed().as_secs_f64(),
            };
            if let Err(error) = store.worker_seen(&sign).await {
                tracing::debug!(%error, "no sign of life given; trying again");
            }
        }
    }

    /// Tells that the process has ended in good order. Without an answer others find out by its silence.
    pub(super) async fn leave(&self, store: &Store) {
        let told = deadline::scope(Instant::now() + FAREWELL, store.worker_gone(&self.worker)).await;
        if let Err(error) = told {
            tracing::debug!(%error, "the process' end was not told");
        }
    }
}
