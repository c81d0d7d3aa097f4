//! The claims in this process' hands: kept alive by one heartbeat for all, their progress written in one statement.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    announce::Announcer,
    handler::Progress,
    model::{JobId, RunToken},
    resilience::{deadline, full_jitter},
    store::{Claim, Held, ProgressReport, Store},
};

/// How long reports are gathered before they are written.
const GATHER: Duration = Duration::from_millis(150);

/// The claims of this process. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Shared>);

#[derive(Default)]
struct Shared {
    jobs: Mutex<HashMap<JobId, Kept>>,
    reports: Mutex<HashMap<JobId, ProgressReport>>,
    reported: Notify,
}

/// A claim as it is kept alive.
struct Kept {
    token: RunToken,
    /// Until then, whatever its attempt does: one that ignores its own end must not be kept from others for ever.
    until: Instant,
    lost: CancellationToken,
}

/// A claim among the others; leaves when dropped.
pub(super) struct Seat {
    claims: Claims,
    held: Held,
    /// Fires when the claim is lost.
    pub lost: CancellationToken,
}

/// What a handler reports through.
pub(super) struct Reporter {
    claims: Claims,
    held: Held,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claims {
    /// Keeps a claim alive from now on, for `most` at most.
    pub(super) fn add(&self, claim: &Claim, most: Duration) -> Seat {
        let lost = CancellationToken::new();
        let held = claim.held();
        locked(&self.0.jobs)
            .insert(held.job, Kept { token: held.token, until: Instant::now() + most, lost: lost.clone() });
        Seat { claims: self.clone(), held, lost }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        locked(&self.0.jobs).len()
    }

    /// Extends all leases three times in a lease's time, and tells those whose claim is gone. What is not answered in a third of a lease, or fails, is
    /// tried again within a second or so: an answer that never comes must not cost the leases. Runs for ever.
    pub(super) async fn beat(&self, store: &Store, lease: Duration) {
        let mut ticks = interval(lease / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let held: Vec<Held> = locked(&self.0.jobs)
                .iter()
                .filter(|(_, kept)| now < kept.until)
                .map(|(job, kept)| Held { job: *job, token: kept.token })
                .collect();
            if held.is_empty() {
                continue;
            }
            match deadline::scope(now + lease / 3, store.heartbeat(&held, lease)).await {
                Ok(alive) => {
                    let alive: HashSet<JobId> = alive.into_iter().collect();
                    let jobs = locked(&self.0.jobs);
                    for held in held.iter().filter(|held| !alive.contains(&held.job)) {
                        // Only the claim that was asked about: the same job may have been claimed anew meanwhile.
                        if let Some(kept) = jobs.get(&held.job)
                            && kept.token == held.token
                        {
                            tracing::warn!(job = %held.job, "the claim is gone: cancelled, or its lease ran out");
                            kept.lost.cancel();
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, jobs = held.len(), "heartbeat failed; trying again");
                    ticks.reset_after(full_jitter(0).min(lease / 10));
                }
            }
        }
    }

    /// Writes progress as it is reported. Runs for ever.
    pub(super) async fn write_progress(&self, store: &Store, announcer: &Announcer) {
        loop {
            self.0.reported.notified().await;
            sleep(GATHER).await;
            let reports: Vec<ProgressReport> = locked(&self.0.reports).drain().map(|(_, report)| report).collect();
            match store.progress(&reports).await {
                Ok(effects) => announcer.announce(effects),
                Err(error) => tracing::debug!(%error, "progress not written"),
            }
        }
    }
}

impl Seat {
    pub(super) fn reporter(&self) -> Arc<Reporter> {
        Arc::new(Reporter { claims: self.claims.clone(), held: self.held })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut jobs = locked(&self.claims.0.jobs);
        if jobs.get(&self.held.job).is_some_and(|kept| kept.token == self.held.token) {
            jobs.remove(&self.held.job);
        }
        drop(jobs);
        locked(&self.claims.0.reports).remove(&self.held.job);
    }
}

impl Progress for Reporter {
    fn report(&self, percent: u8, stage: &str) {
        let report = ProgressReport { held: self.held, percent: percent.min(99), stage: stage.to_owned() };
        locked(&self.claims.0.reports).insert(self.held.job, report);
        self.claims.0.reported.notify_one();
    }
}
