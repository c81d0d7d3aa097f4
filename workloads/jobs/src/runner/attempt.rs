//! One attempt of one job, from the claim to the outcome in the store.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::held::Seat;
use crate::{
    announce::Announcer,
    cache::Cache,
    handler::{Handler, Outcome, RunContext},
    model::{Effects, JobError},
    resilience::{deadline, full_jitter},
    store::{Claim, FailOutcome, Store, StoreError},
};

/// What attempts work with.
pub(super) struct Bench {
    pub store: Store,
    pub announcer: Announcer,
    pub cache: Cache,
    pub handler: Arc<dyn Handler>,
    /// Longer than this an outcome is not worth writing: the lease is gone.
    pub lease: Duration,
    /// Fires when the process has no more time: attempts end and jobs are handed back.
    pub give_up: CancellationToken,
}

/// How an attempt ended, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    /// It made parts and waits for them.
    Spawned,
    /// There will be another one.
    Failed,
    /// There will be none.
    Dead,
    /// The claim was gone.
    Lost,
    /// Handed back, because the process ends.
    GivenBack,
    /// The database took no outcome in time; the lease sees to the job.
    Unwritten,
}

impl Ending {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Spawned => "spawned",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Lost => "lost",
            Self::GivenBack => "given_back",
            Self::Unwritten => "unwritten",
        }
    }

    pub(super) const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Dead | Self::Lost | Self::Unwritten)
    }
}

/// Whether a job is an analysis itself rather than a part of one.
pub(super) fn is_analysis(claim: &Claim) -> bool {
    claim.job.id == claim.job.root
}

impl Bench {
    /// Runs a claimed job and writes what came of it.
    pub(super) async fn run(&self, claim: &Claim, seat: &Seat, limit: Duration) -> Ending {
        let job = &claim.job;
        let until = Instant::now() + limit;
        let cancelled = seat.lost.child_token();
        let context = RunContext { progress: seat.reporter(), cancelled: cancelled.clone(), deadline: until };
        let work = deadline::scope(until.into(), self.handler.run(job, &context));
        let work = AssertUnwindSafe(work).catch_unwind();
        let result = tokio::select! {
            biased;
            () = seat.lost.cancelled() => return Ending::Lost,
            () = self.give_up.cancelled() => {
                cancelled.cancel();
                return self.write(claim, Ending::GivenBack, || async { self.store.give_back(claim.held()).await }).await;
            }
            result = timeout_at(until.into(), work) => result,
        };
        cancelled.cancel();
        let outcome = match result {
            Ok(Ok(outcome)) => outcome,
            // The hook has logged where; what it said may hold anything.
            Ok(Err(_)) => {
                Err(JobError::transient("panic", "the worker's code failed unexpectedly; its log says where"))
            }
            Err(_) => Err(JobError::transient(
                "timeout",
                format!("the attempt ran longer than the {} lane allows ({} s)", job.lane, limit.as_secs()),
            )),
        };
        match outcome {
            Ok(Outcome::Complete(output)) => self.complete(claim, output, Vec::new()).await,
            Ok(Outcome::CompleteAndDiscover { output, usernames }) => self.complete(claim, output, usernames).await,
            Ok(Outcome::CompleteForNow { output, input, after }) => {
                let (output, input) = (&output, &input);
                let write = || async { self.store.complete_for_now(claim.held(), output, input, after).await };
                let ending = self.write(claim, Ending::Completed, write).await;
                self.remember(claim, ending, output).await
            }
            Ok(Outcome::Spawn { kept, children, stage }) => {
                let (kept, children) = (&kept, &children);
                self.write(claim, Ending::Spawned, || async {
                    self.store.spawn(claim.held(), kept, children, stage).await
                })
                .await
            }
            Err(error) => self.fail(claim, &error).await,
        }
    }

    async fn complete(&self, claim: &Claim, output: serde_json::Value, found: Vec<String>) -> Ending {
        let (value, found) = (&output, found.as_slice());
        let ending = self
            .write(claim, Ending::Completed, || async {
                if is_analysis(claim) && found.is_empty() {
                    self.store.complete_analysis(claim.held(), value).await
                } else {
                    self.store.complete_and_discover(claim.held(), value, found).await
                }
            })
            .await;
        self.remember(claim, ending, value).await
    }

    /// Keeps the cache of results true to what was written.
    async fn remember(&self, claim: &Claim, ending: Ending, output: &serde_json::Value) -> Ending {
        if ending == Ending::Completed && is_analysis(claim) {
            self.cache.put_result(&claim.job.username, output).await;
        } else if ending == Ending::Completed && claim.job.corrects {
            // The profile may have been analysed again since: the database knows which result is the newest.
            self.cache.invalidate_result(&claim.job.username).await;
        }
        ending
    }

    async fn fail(&self, claim: &Claim, error: &JobError) -> Ending {
        tracing::warn!(job = %claim.job.id, root = %claim.job.root, attempt = claim.job.attempt, %error, "attempt failed");
        match self.persist(claim, || async { self.store.fail(claim.held(), error).await }).await {
            Ok(FailOutcome::Stale) => Ending::Lost,
            Ok(FailOutcome::Retrying { effects, .. }) => {
                self.announcer.announce(effects);
                Ending::Failed
            }
            Ok(FailOutcome::Dead { effects }) => {
                self.announcer.announce(effects);
                Ending::Dead
            }
            Err(_) => Ending::Unwritten,
        }
    }

    /// Writes an outcome and announces its effects.
    async fn write<F>(&self, claim: &Claim, ending: Ending, write: impl Fn() -> F) -> Ending
    where
        F: Future<Output = Result<Option<Effects>, StoreError>>,
    {
        match self.persist(claim, write).await {
            Ok(Some(effects)) => {
                self.announcer.announce(effects);
                ending
            }
            Ok(None) => {
                tracing::warn!(job = %claim.job.id, "the outcome came too late: the claim is gone");
                Ending::Lost
            }
            Err(error) if error.is_transient() => Ending::Unwritten,
            // Another attempt would come to the same; better dead and told than tried for ever.
            Err(error) => self.fail(claim, &JobError::permanent("outcome-refused", error.to_string())).await,
        }
    }

    /// Repeats a write until the database has answered, for as long as the lease may last. That is safe: the run token lets an outcome be written once.
    async fn persist<T, F>(&self, claim: &Claim, write: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let until = Instant::now() + self.lease;
        let mut attempt = 0;
        loop {
            match deadline::scope(until.into(), write()).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_transient() && Instant::now() < until => {
                    tracing::warn!(job = %claim.job.id, %error, "outcome not written; trying again");
                    sleep(full_jitter(attempt)).await;
                    attempt += 1;
                }
                Err(error) => {
                    tracing::error!(job = %claim.job.id, %error, "outcome not written");
                    return Err(error);
                }
            }
        }
    }
}
