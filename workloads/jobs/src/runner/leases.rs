//! The leases of this process: one heartbeat extends all of them, and one statement writes the
//! progress of all their jobs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
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
    store::{Claim, ProgressReport, RunKey, Store},
};

/// Time for which progress reports are batched.
const REPORT_DELAY: Duration = Duration::from_millis(150);

/// The active leases of this process. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ActiveLeases(Arc<Shared>);

#[derive(Default)]
struct Shared {
    leases: Mutex<HashMap<JobId, ActiveLease>>,
    reports: Mutex<HashMap<JobId, ProgressReport>>,
    reported: Notify,
}

struct ActiveLease {
    token: RunToken,
    /// The lease is not extended after this time, even if the attempt ignores its own end.
    /// Otherwise the job would be kept from other workers for ever.
    until: Instant,
    lost: CancellationToken,
}

/// Keeps one lease active until it is dropped.
pub(super) struct LeaseGuard {
    leases: ActiveLeases,
    run_key: RunKey,
    /// Cancelled when the lease is lost.
    pub lost: CancellationToken,
}

/// Collects the progress reports of one job.
pub(super) struct Reporter {
    leases: ActiveLeases,
    run_key: RunKey,
}

impl ActiveLeases {
    /// Extends the lease of a claim from now on, for at most `limit`.
    pub(super) fn add(&self, claim: &Claim, limit: Duration) -> LeaseGuard {
        let lost = CancellationToken::new();
        let run_key = claim.run_key();
        let lease = ActiveLease { token: run_key.token, until: Instant::now() + limit, lost: lost.clone() };
        self.0.leases.lock().insert(run_key.job, lease);
        LeaseGuard { leases: self.clone(), run_key, lost }
    }

    /// Number of active leases.
    pub(super) fn len(&self) -> usize {
        self.0.leases.lock().len()
    }

    /// Extends all leases every third of `lease`, and cancels the attempts whose claim is lost.
    /// Runs for ever.
    ///
    /// A heartbeat that fails, or takes longer than a third of `lease`, is retried within a second.
    /// So a response that never arrives does not cost the leases.
    pub(super) async fn send_heartbeats(&self, store: &Store, lease: Duration) {
        let mut ticks = interval(lease / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let run_keys = self.run_keys(now);
            if run_keys.is_empty() {
                continue;
            }
            match deadline::scope(now + lease / 3, store.heartbeat(&run_keys, lease)).await {
                Ok(alive) => self.cancel_lost(&run_keys, &alive.into_iter().collect()),
                Err(error) => {
                    tracing::warn!(%error, jobs = run_keys.len(), "could not extend leases; retrying");
                    ticks.reset_after(full_jitter(0).min(lease / 10));
                }
            }
        }
    }

    /// Keys of the leases to extend at `now`.
    fn run_keys(&self, now: Instant) -> Vec<RunKey> {
        let leases = self.0.leases.lock();
        let current = leases.iter().filter(|(_, lease)| now < lease.until);
        current.map(|(job, lease)| RunKey { job: *job, token: lease.token }).collect()
    }

    /// Cancels the attempts of `run_keys` whose jobs are not `alive`.
    fn cancel_lost(&self, run_keys: &[RunKey], alive: &HashSet<JobId>) {
        let leases = self.0.leases.lock();
        for run_key in run_keys.iter().filter(|run_key| !alive.contains(&run_key.job)) {
            // Compare the token: this process may have claimed the same job again meanwhile.
            if let Some(lease) = leases.get(&run_key.job)
                && lease.token == run_key.token
            {
                tracing::warn!(job = %run_key.job, "lost claim: the job was cancelled, or its lease expired");
                lease.lost.cancel();
            }
        }
    }

    /// Writes progress reports as they arrive. Runs for ever.
    pub(super) async fn write_progress(&self, store: &Store, announcer: &Announcer) {
        loop {
            self.0.reported.notified().await;
            sleep(REPORT_DELAY).await;
            let reports: Vec<ProgressReport> = self.0.reports.lock().drain().map(|(_, report)| report).collect();
            match store.progress(&reports).await {
                Ok(effects) => announcer.announce(effects),
                Err(error) => tracing::debug!(%error, "could not write progress"),
            }
        }
    }
}

impl LeaseGuard {
    pub(super) fn reporter(&self) -> Arc<Reporter> {
        Arc::new(Reporter { leases: self.leases.clone(), run_key: self.run_key })
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        let shared = &self.leases.0;
        let mut leases = shared.leases.lock();
        if leases.get(&self.run_key.job).is_some_and(|lease| lease.token == self.run_key.token) {
            leases.remove(&self.run_key.job);
        }
        drop(leases);
        shared.reports.lock().remove(&self.run_key.job);
    }
}

impl Progress for Reporter {
    fn report(&self, percent: u8, stage: &str) {
        let report = ProgressReport { run_key: self.run_key, percent: percent.min(99), stage: stage.to_owned() };
        self.leases.0.reports.lock().insert(self.run_key.job, report);
        self.leases.0.reported.notify_one();
    }
}
