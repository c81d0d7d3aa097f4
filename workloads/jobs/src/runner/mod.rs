//! Runs jobs in a worker process: consumes tickets, claims jobs, and passes them to a [`Handler`].
//!
//! For each message a lane takes slots, claims as many jobs, starts them, and acknowledges the
//! message. From the claim on, the lease protects the job, not the message.

mod attempt;
mod lane;
mod leases;
mod metrics;
mod presence;
pub mod process;
mod slots;

use std::{sync::Arc, time::Duration};

use switchyard_contract::{Config, Kind, Lane, Workload};
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::metrics::Metrics;
use self::{
    attempt::AttemptContext,
    lane::LaneRunner,
    leases::ActiveLeases,
    presence::Presence,
    slots::{SlotPolicy, Slots},
};
use crate::{
    announce::Announcer,
    broker::Broker,
    cache::Cache,
    handler::Handler,
    model::Queue,
    store::{DEFAULT_LEASE, Store},
};

/// Durations of a runner.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a claim lasts without a heartbeat.
    pub lease: Duration,
    /// How long running jobs may continue after shutdown has begun. Then they are released.
    pub grace: Duration,
}

impl Default for Timing {
    /// A lease of 30 s. A grace period of 20 s, which fits into the 30 s of Kubernetes.
    fn default() -> Self {
        Self { lease: DEFAULT_LEASE, grace: Duration::from_secs(20) }
    }
}

/// Why a runner could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("the configuration is not that of a worker: its workload must be of type 'pool'")]
    NotAPool,
}

/// The runner of a worker process.
pub struct Runner {
    pub config: Arc<Config>,
    pub store: Store,
    pub broker: Broker,
    pub cache: Cache,
    pub metrics: Metrics,
    pub timing: Timing,
    /// Memory limit of the container, in bytes.
    pub memory_limit: Option<u64>,
}

/// The pool that this process belongs to.
struct Pool<'a> {
    name: &'a str,
    kind: Kind,
    lanes: &'a [Lane],
    concurrency: u32,
}

/// Name of this process of the pool `pool` in the database: the pod's name, or one with the process
/// id.
pub fn worker_name(pool: &str) -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| format!("{pool}-{}", std::process::id()))
}

impl Runner {
    /// Runs jobs until `shutdown` is cancelled. Then it claims no more, lets running jobs finish
    /// within the grace period, and releases the rest.
    ///
    /// # Errors
    /// [`RunnerError::NotAPool`] if the configuration is not that of a worker.
    pub async fn run(self, handler: Arc<dyn Handler>, shutdown: CancellationToken) -> Result<(), RunnerError> {
        let Workload::Pool { name, kind, lanes, concurrency } = &self.config.workload else {
            return Err(RunnerError::NotAPool);
        };
        let pool = Pool { name, kind: *kind, lanes, concurrency: *concurrency };
        self.metrics.slots(pool.concurrency);
        let announcer = Announcer::start(self.broker.clone());
        let leases = ActiveLeases::default();
        let presence = self.presence(&pool, &leases, &shutdown);

        let background = CancellationToken::new();
        let background_tasks = self.spawn_background(&leases, &announcer, &presence, &background);

        let context = self.attempt_context(handler, &announcer);
        let running = TaskTracker::new();
        let lanes = self.spawn_lanes(&pool, &leases, &context, &running, &shutdown);
        tracing::info!(kind = %pool.kind, concurrency = pool.concurrency, "started runner");

        shutdown.cancelled().await;
        // No job is claimed once the lanes have ended. Only then is `running` complete.
        lanes.wait().await;
        self.drain(&running, &context.release).await;
        background.cancel();
        background_tasks.wait().await;
        announcer.flush().await;
        presence.leave(&self.store).await;
        Ok(())
    }

    fn presence(&self, pool: &Pool<'_>, leases: &ActiveLeases, shutdown: &CancellationToken) -> Arc<Presence> {
        Arc::new(Presence {
            worker: worker_name(pool.name),
            pool: pool.name.to_owned(),
            kind: pool.kind,
            concurrency: pool.concurrency,
            memory_limit: self.memory_limit,
            began: Instant::now(),
            leases: leases.clone(),
            draining: shutdown.clone(),
        })
    }

    fn attempt_context(&self, handler: Arc<dyn Handler>, announcer: &Announcer) -> Arc<AttemptContext> {
        Arc::new(AttemptContext {
            store: self.store.clone(),
            announcer: announcer.clone(),
            cache: self.cache.clone(),
            handler,
            lease: self.timing.lease,
            release: CancellationToken::new(),
        })
    }

    /// Starts what runs beside the attempts until `stop`: lease heartbeats, progress, and presence.
    fn spawn_background(
        &self,
        leases: &ActiveLeases,
        announcer: &Announcer,
        presence: &Arc<Presence>,
        stop: &CancellationToken,
    ) -> TaskTracker {
        let tasks = TaskTracker::new();
        let (store, lease) = (self.store.clone(), self.timing.lease);
        tasks.spawn(stop.clone().run_until_cancelled_owned({
            let (leases, store) = (leases.clone(), store.clone());
            async move { leases.send_heartbeats(&store, lease).await }
        }));
        tasks.spawn(stop.clone().run_until_cancelled_owned({
            let (leases, store, announcer) = (leases.clone(), store.clone(), announcer.clone());
            async move { leases.write_progress(&store, &announcer).await }
        }));
        tasks.spawn(stop.clone().run_until_cancelled_owned({
            let presence = presence.clone();
            async move { presence.send_heartbeats(&store).await }
        }));
        tasks.close();
        tasks
    }

    /// Starts a [`LaneRunner`] for each lane. They end after `shutdown`; their attempts are in
    /// `running`.
    fn spawn_lanes(
        &self,
        pool: &Pool<'_>,
        leases: &ActiveLeases,
        context: &Arc<AttemptContext>,
        running: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> TaskTracker {
        let slots = Slots::new(SlotPolicy::new(pool.concurrency, pool.lanes));
        let tasks = TaskTracker::new();
        for lane in pool.lanes {
            let lane = LaneRunner {
                queue: Queue { kind: pool.kind, lane: *lane },
                limit: Duration::from_secs(self.config.lanes.get(*lane).timeout_seconds.max(1)),
                worker: worker_name(pool.name),
                broker: self.broker.clone(),
                slots: slots.clone(),
                leases: leases.clone(),
                context: context.clone(),
                metrics: self.metrics.clone(),
                running: running.clone(),
                stop: shutdown.clone(),
            };
            tasks.spawn(async move { lane.run().await });
        }
        tasks.close();
        tasks
    }

    /// Waits for the running attempts. After the grace period their jobs are released.
    async fn drain(&self, running: &TaskTracker, release: &CancellationToken) {
        running.close();
        tracing::info!(jobs = running.len(), "draining");
        if timeout(self.timing.grace, running.wait()).await.is_err() {
            tracing::warn!(jobs = running.len(), "grace period is over; releasing jobs");
            release.cancel();
            running.wait().await;
        }
    }
}
