//! Background work of the job core: the relay publishes missing tickets, the reaper ends attempts
//! with an expired lease, and retention removes old rows.
//!
//! Any number of processes may run it at the same time; each finds what the others have left.

use std::{fmt, time::Duration};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    announce::Announcer,
    broker::{Broker, BrokerError},
    recovery::{Action, Recoveries},
    store::{FailOutcome, Reaped, Removed, Retention, Store, StoreError},
};

/// Intervals and switches.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Interval of the relay.
    pub relay_every: Duration,
    /// How long a job must have been claimable before the relay checks for its ticket.
    pub relay_after: Duration,
    /// Interval of the reaper.
    pub reap_every: Duration,
    /// Interval of retention.
    pub retain_every: Duration,
    pub retention: Retention,
    /// Whether to quarantine jobs that crash their workers.
    pub quarantine_jobs: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            relay_every: Duration::from_secs(1),
            relay_after: Duration::from_secs(1),
            reap_every: Duration::from_secs(2),
            retain_every: Duration::from_mins(5),
            retention: Retention::default(),
            quarantine_jobs: true,
        }
    }
}

/// Why the relay could not publish all tickets. The next round tries again.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{tickets} tickets not published: {error}")]
    Unpublished { tickets: usize, error: String },
}

/// Tickets of one queue that one round of the relay publishes. They keep workers busy until the
/// next round.
const MAX_TICKETS: u32 = 10_000;
/// Expired leases that one round of the reaper ends.
const MAX_LEASES: u32 = 500;
/// Rows of each kind that one statement of retention removes.
const MAX_REMOVED: u32 = 1000;

/// Runs until `shutdown` is cancelled. Failures of the database and the broker are logged and
/// retried.
pub async fn run(
    store: Store,
    broker: Broker,
    announcer: Announcer,
    policy: Policy,
    recoveries: Recoveries,
    shutdown: CancellationToken,
) {
    let relay = async {
        let mut ticks = every(policy.relay_every);
        loop {
            ticks.tick().await;
            if broker.is_connected() {
                log_error("publish tickets", publish_claimable(&store, &broker, policy.relay_after).await);
            }
        }
    };
    let reaper = async {
        let mut ticks = every(policy.reap_every);
        loop {
            ticks.tick().await;
            log_error("end expired attempts", reap(&store, &announcer, policy.quarantine_jobs, &recoveries).await);
        }
    };
    let retention = async {
        let mut ticks = every(policy.retain_every);
        loop {
            ticks.tick().await;
            log_error("remove old rows", retain(&store, &policy.retention).await);
        }
    };
    tokio::select! {
        () = relay => {}
        () = reaper => {}
        () = retention => {}
        () = shutdown.cancelled() => {}
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Publishes tickets for jobs that have been claimable for `min_age` and whose queue has no ticket
/// left. Such tickets were lost, or used up while the queue was paused or the lane at its maximum.
/// Returns the number of tickets.
///
/// # Errors
/// [`RelayError`] if the database or the broker failed; the next round publishes the rest.
pub async fn publish_claimable(store: &Store, broker: &Broker, min_age: Duration) -> Result<usize, RelayError> {
    let mut tickets = Vec::new();
    for (queue, jobs) in store.claimable_queues(min_age).await? {
        match broker.depth(queue).await {
            Ok(0) => tickets.extend((0..jobs.min(MAX_TICKETS)).map(|_| queue)),
            Ok(_) => {}
            // The other queues still get their tickets.
            Err(error) => tracing::warn!(%queue, %error, "could not read the queue's depth"),
        }
    }
    let published = broker.publish(&tickets).await;
    match published.error {
        Some(error) => Err(RelayError::Unpublished { tickets: published.failed.len(), error }),
        None => Ok(published.confirmed),
    }
}

/// Ends all attempts whose lease has expired, and returns their number.
///
/// # Errors
/// [`StoreError`] if the database is unavailable.
pub async fn reap(
    store: &Store,
    announcer: &Announcer,
    quarantine_jobs: bool,
    recoveries: &Recoveries,
) -> Result<usize, StoreError> {
    let mut count = 0;
    for run_key in store.expired(MAX_LEASES).await? {
        match store.reap(run_key, quarantine_jobs).await {
            Ok(Reaped { outcome: FailOutcome::Stale, .. }) => continue,
            Ok(Reaped {
                outcome: FailOutcome::Retrying { effects, .. } | FailOutcome::Dead { effects },
                quarantined,
            }) => {
                recoveries.count(if quarantined { Action::JobQuarantined } else { Action::LeaseReopened });
                announcer.announce(effects);
            }
            Err(error) if error.is_transient() => return Err(error),
            // A refused statement must not block the leases after it.
            Err(error) => {
                tracing::error!(job = %run_key.job, %error, "could not end expired attempt");
                continue;
            }
        }
        tracing::warn!(job = %run_key.job, "ended expired attempt: its worker went silent");
        count += 1;
    }
    Ok(count)
}

async fn retain(store: &Store, retention: &Retention) -> Result<(), StoreError> {
    while store.retain(retention, MAX_REMOVED).await? != Removed::default() {}
    Ok(())
}

fn log_error<T, E: fmt::Display>(action: &str, result: Result<T, E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "could not {action}; the next round retries");
    }
}
