//! What keeps the job core going: publishing what lies unclaimed, ending attempts of silent workers, removing what is old.
//!
//! Any number of processes may run it at once; each finds what the others have not taken.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    announce::Announcer,
    broker::{Broker, BrokerError},
    recovery::{Action, Recoveries},
    store::{FailOutcome, Kept, Reaped, Store, StoreError},
};

/// How often what is done.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Between two looks for jobs to publish.
    pub relay_every: Duration,
    /// How long a job may be claimable before the relay looks whether there is a ticket for it.
    pub owed_after: Duration,
    /// Between two looks for expired leases.
    pub reap_every: Duration,
    /// Between two rounds of retention.
    pub retain_every: Duration,
    pub kept: Kept,
    /// Whether jobs that take workers down are quarantined.
    pub quarantine_jobs: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            relay_every: Duration::from_secs(1),
            owed_after: Duration::from_secs(1),
            reap_every: Duration::from_secs(2),
            retain_every: Duration::from_secs(300),
            kept: Kept::default(),
            quarantine_jobs: true,
        }
    }
}

/// Why the relay could not do all of its work. It is always worth trying again.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{jobs} jobs not published: {error}")]
    Unpublished { jobs: usize, error: String },
}

/// Tickets of one queue that one round of the relay publishes. With so many, workers are busy until the next round.
const TICKETS_AT_ONCE: u32 = 10_000;
/// Leases that one round ends.
const BATCH: u32 = 500;
/// Rows that one round of retention removes of each sort.
const REMOVED_AT_ONCE: u32 = 1000;

/// Runs until `shutdown` fires. Trouble with database or broker is waited out.
pub async fn run(
    store: Store,
    broker: Broker,
    announcer: Announcer,
    policy: Policy,
    recoveries: Recoveries,
    shutdown: CancellationToken,
) {
    let every = |period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let relay = async {
        let mut ticks = every(policy.relay_every);
        loop {
            ticks.tick().await;
            if broker.is_connected() {
                told("publishing claimable jobs", publish_owed(&store, &broker, policy.owed_after).await);
            }
        }
    };
    let reaper = async {
        let mut ticks = every(policy.reap_every);
        loop {
            ticks.tick().await;
            told("ending expired attempts", reap(&store, &announcer, policy.quarantine_jobs, &recoveries).await);
        }
    };
    let retention = async {
        let mut ticks = every(policy.retain_every);
        loop {
            ticks.tick().await;
            told("removing old rows", retain(&store, &policy.kept).await);
        }
    };
    tokio::select! {
        () = relay => {}
        () = reaper => {}
        () = retention => {}
        () = shutdown.cancelled() => {}
    }
}

/// Publishes tickets for the jobs that could have been claimed for `min_age`, where the broker has none left: they were lost, or were used up while a pause or
/// a limit forbade to claim. Answers how many it published.
pub async fn publish_owed(store: &Store, broker: &Broker, min_age: Duration) -> Result<usize, RelayError> {
    let mut tickets = Vec::new();
    for (queue, jobs) in store.owed(min_age).await? {
        match broker.depth(queue).await {
            Ok(0) => tickets.extend((0..jobs.min(TICKETS_AT_ONCE)).map(|_| queue)),
            Ok(_) => {}
            // The others are owed theirs all the same.
            Err(error) => {
                tracing::warn!(%queue, %error, "no answer about the queue; its jobs are told of in the next round")
            }
        }
    }
    let published = broker.publish(&tickets).await;
    match published.error {
        Some(error) => Err(RelayError::Unpublished { jobs: published.failed.len(), error }),
        None => Ok(published.confirmed),
    }
}

/// Ends all attempts whose lease has run out. Answers how many it ended.
pub async fn reap(
    store: &Store,
    announcer: &Announcer,
    quarantine_jobs: bool,
    recoveries: &Recoveries,
) -> Result<usize, StoreError> {
    let mut count = 0;
    for held in store.expired(BATCH).await? {
        match store.reap(held, quarantine_jobs).await {
            Ok(Reaped { outcome: FailOutcome::Stale, .. }) => continue,
            Ok(Reaped {
                outcome: FailOutcome::Retrying { effects, .. } | FailOutcome::Dead { effects },
                quarantined,
            }) => {
                recoveries.count(if quarantined { Action::JobQuarantined } else { Action::LeaseReopened });
                announcer.announce(effects);
            }
            Err(error) if error.is_transient() => return Err(error),
            // One that is refused must not stand in the way of those behind it.
            Err(error) => {
                tracing::error!(job = %held.job, %error, "an attempt without a worker could not be ended");
                continue;
            }
        }
        tracing::warn!(job = %held.job, "the lease has run out: its worker went silent");
        count += 1;
    }
    Ok(count)
}

async fn retain(store: &Store, kept: &Kept) -> Result<usize, StoreError> {
    loop {
        let removed = store.retain(kept, REMOVED_AT_ONCE).await?;
        if removed.events + removed.idempotency + removed.jobs == 0 {
            return Ok(0);
        }
    }
}

fn told<E: std::fmt::Display>(what: &str, result: Result<usize, E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what} failed; trying again soon");
    }
}
