//! What keeps the job core going: publishing what is due, ending attempts of silent workers, removing what is old.
//!
//! Any number of processes may run it at once; each finds what the others have not taken.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    announce::{Announcer, PUBLISH_AGAIN, unpublished},
    broker::Broker,
    store::{FailOutcome, Kept, Store, StoreError},
};

/// How often what is done.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Between two looks for jobs to publish.
    pub relay_every: Duration,
    /// How long a published pointer may lead to nothing before it is published again, at first; doubled each time, up to 15 min.
    pub publish_again: Duration,
    /// Between two looks for expired leases.
    pub reap_every: Duration,
    /// Between two rounds of retention.
    pub retain_every: Duration,
    pub kept: Kept,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            relay_every: Duration::from_secs(1),
            publish_again: PUBLISH_AGAIN,
            reap_every: Duration::from_secs(2),
            retain_every: Duration::from_secs(300),
            kept: Kept::default(),
        }
    }
}

/// Jobs that one statement hands out.
const BATCH: u32 = 500;
/// Rows that one round of retention removes of each sort.
const REMOVED_AT_ONCE: u32 = 1000;

/// Runs until `shutdown` fires. Trouble with database or broker is waited out.
pub async fn run(store: Store, broker: Broker, announcer: Announcer, policy: Policy, shutdown: CancellationToken) {
    let every = |period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let relay = async {
        let mut ticks = every(policy.relay_every);
        loop {
            ticks.tick().await;
            // Without a broker there is nothing to hand out to, and handing out puts off.
            if broker.is_connected() {
                told("publishing due jobs", publish_due(&store, &broker, policy.publish_again).await);
            }
        }
    };
    let reaper = async {
        let mut ticks = every(policy.reap_every);
        loop {
            ticks.tick().await;
            told("ending expired attempts", reap(&store, &announcer).await);
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

/// Publishes all that is due now. Answers how many it was.
pub async fn publish_due(store: &Store, broker: &Broker, again: Duration) -> Result<usize, StoreError> {
    let mut count = 0;
    loop {
        let due = store.due(BATCH, again).await?;
        count += due.len();
        let published = broker.publish(&due).await;
        unpublished(store, &published.failed, published.error.as_deref()).await;
        if due.len() < BATCH as usize || !published.failed.is_empty() {
            return Ok(count);
        }
    }
}

/// Ends all attempts whose lease has run out. Answers how many it ended.
pub async fn reap(store: &Store, announcer: &Announcer) -> Result<usize, StoreError> {
    let mut count = 0;
    for held in store.expired(BATCH).await? {
        match store.reap(held).await? {
            FailOutcome::Stale => continue,
            FailOutcome::Retrying { effects, .. } | FailOutcome::Dead { effects } => announcer.announce(effects),
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

fn told(what: &str, result: Result<usize, StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what} failed; trying again soon");
    }
}
