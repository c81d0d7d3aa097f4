//! What every worker process runs: takes jobs from its lanes, hands them to its [`Handler`], and writes what comes of them.
//!
//! In this order: local slots, tickets, the claim of as many jobs, the acknowledgement. From there the lease is the safety net, not the message.

mod attempt;
mod held;
mod lane;
mod metrics;
mod presence;
pub mod process;
mod slots;

use std::{sync::Arc, time::Duration};

use switchyard_contract::{Config, Workload};
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::metrics::Metrics;
use self::{attempt::Bench, held::Claims, lane::LaneRunner, presence::Presence, slots::Slots};
use crate::{announce::Announcer, broker::Broker, cache::Cache, handler::Handler, model::Queue, store::Store};

/// How a runner times things.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// How long running jobs may go on after the process was asked to stop; then they are handed back.
    pub grace: Duration,
}

impl Default for Timing {
    /// A lease of 30 s; 20 s to finish, which fits in Kubernetes' 30.
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), grace: Duration::from_secs(20) }
    }
}

/// Why a runner could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("the configuration is not that of a worker: its workload must be of type 'pool'")]
    NotAPool,
}

/// A worker process' job side.
pub struct Runner {
    pub config: Arc<Config>,
    pub store: Store,
    pub broker: Broker,
    pub cache: Cache,
    pub metrics: Metrics,
    pub timing: Timing,
    /// What the container may hold, in bytes.
    pub memory_limit: Option<u64>,
}

/// How a process of the pool `name` calls itself towards the database: as its pod, or by its number.
pub fn worker_name(name: &str) -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| format!("{name}-{}", std::process::id()))
}

impl Runner {
    /// Runs jobs until `shutdown` fires, then takes no more, lets those that run finish within the grace time, and hands the rest back.
    pub async fn run(self, handler: Arc<dyn Handler>, shutdown: CancellationToken) -> Result<(), RunnerError> {
        let Workload::Pool { name, kind, lanes, concurrency } = &self.config.workload else {
            return Err(RunnerError::NotAPool);
        };
        let worker = worker_name(name);
        self.metrics.slots(*concurrency);
        let announcer = Announcer::start(self.broker.clone());
        let give_up = CancellationToken::new();
        let bench = Arc::new(Bench {
            store: self.store.clone(),
            announcer: announcer.clone(),
            cache: self.cache.clone(),
            handler,
            lease: self.timing.lease,
            give_up: give_up.clone(),
        });
        let slots = Slots::new(slots::Plan::new(*concurrency, lanes));
        let claims = Claims::default();
        let running = TaskTracker::new();

        let keeping = CancellationToken::new();
        let keepers = TaskTracker::new();
        keepers.spawn(keeping.clone().run_until_cancelled_owned({
            let (claims, store, lease) = (claims.clone(), self.store.clone(), self.timing.lease);
            async move { claims.beat(&store, lease).await }
        }));
        keepers.spawn(keeping.clone().run_until_cancelled_owned({
            let (claims, store, announcer) = (claims.clone(), self.store.clone(), announcer.clone());
            async move { claims.write_progress(&store, &announcer).await }
        }));

        let presence = Arc::new(Presence {
            worker: worker.clone(),
            pool: name.clone(),
            kind: *kind,
            concurrency: *concurrency,
            memory_limit: self.memory_limit,
            began: Instant::now(),
            claims: claims.clone(),
            draining: shutdown.clone(),
        });
        keepers.spawn(keeping.clone().run_until_cancelled_owned({
            let (presence, store) = (presence.clone(), self.store.clone());
            async move { presence.keep(&store).await }
        }));

        let takers = TaskTracker::new();
        for lane in lanes {
            let lane = LaneRunner {
                queue: Queue { kind: *kind, lane: *lane },
                limit: Duration::from_secs(self.config.lanes.get(*lane).timeout_seconds.max(1)),
                worker: worker.clone(),
                broker: self.broker.clone(),
                slots: slots.clone(),
                claims: claims.clone(),
                bench: bench.clone(),
                metrics: self.metrics.clone(),
                running: running.clone(),
                stop: shutdown.clone(),
            };
            takers.spawn(async move { lane.run().await });
        }
        takers.close();
        tracing::info!(%kind, concurrency, "taking jobs");
        shutdown.cancelled().await;

        // Nobody takes a job any more once the takers have ended; only then can the running ones be waited for.
        takers.wait().await;
        running.close();
        tracing::info!(jobs = running.len(), "draining");
        if timeout(self.timing.grace, running.wait()).await.is_err() {
            tracing::warn!(jobs = running.len(), "handing jobs back");
            give_up.cancel();
            running.wait().await;
        }
        keeping.cancel();
        keepers.close();
        keepers.wait().await;
        announcer.flush().await;
        presence.leave(&self.store).await;
        Ok(())
    }
}
