//! One attempt of one job: runs the handler and writes the outcome.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use serde_json::Value;
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::leases::LeaseGuard;
use crate::{
    announce::Announcer,
    cache::Cache,
    handler::{Handler, Outcome, RunContext},
    model::{Effects, JobError},
    resilience::{deadline, full_jitter},
    store::{Claim, FailOutcome, Store, StoreError},
};

/// What all attempts of a runner share.
pub(super) struct AttemptContext {
    pub store: Store,
    pub announcer: Announcer,
    pub cache: Cache,
    pub handler: Arc<dyn Handler>,
    /// Limit for writing an outcome: after it the lease is lost.
    pub lease: Duration,
    /// Cancelled when the grace period is over: attempts end and their jobs are released.
    pub release: CancellationToken,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptOutcome {
    Completed,
    /// The job waits for the children that it spawned.
    Spawned,
    /// The job will be retried.
    Failed,
    /// The job is dead.
    Dead,
    /// The claim was lost.
    Lost,
    /// The job was released, because the process shuts down.
    Released,
    /// The database did not accept the outcome in time. The job is retried when its lease expires.
    Unwritten,
}

impl AttemptOutcome {
    /// Every outcome.
    pub(super) const ALL: [Self; 7] =
        [Self::Completed, Self::Spawned, Self::Failed, Self::Dead, Self::Lost, Self::Released, Self::Unwritten];

    /// The value of the metric label `outcome`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Spawned => "spawned",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Lost => "lost",
            Self::Released => "released",
            Self::Unwritten => "unwritten",
        }
    }

    pub(super) const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Dead | Self::Lost | Self::Unwritten)
    }
}

impl AttemptContext {
    /// Runs a claimed job for at most `limit`, and writes its outcome.
    pub(super) async fn run(&self, claim: &Claim, lease: &LeaseGuard, limit: Duration) -> AttemptOutcome {
        let job = &claim.job;
        let until = Instant::now() + limit;
        let cancelled = lease.lost.child_token();
        let context = RunContext { progress: lease.reporter(), cancelled: cancelled.clone(), deadline: until };
        let work = deadline::scope(until.into(), self.handler.run(job, &context));
        let work = AssertUnwindSafe(work).catch_unwind();
        let result = tokio::select! {
            biased;
            () = lease.lost.cancelled() => return AttemptOutcome::Lost,
            () = self.release.cancelled() => {
                cancelled.cancel();
                return self.write(claim, AttemptOutcome::Released, || self.store.release(claim.run_key())).await;
            }
            result = timeout_at(until.into(), work) => result,
        };
        cancelled.cancel();
        let result = match result {
            Ok(Ok(result)) => result,
            // The panic hook has logged the place. The panic message may hold a secret.
            Ok(Err(_)) => {
                Err(JobError::transient("panic", "the worker's code failed unexpectedly; its log says where"))
            }
            Err(_) => Err(JobError::transient(
                "timeout",
                format!("the attempt ran longer than the {} lane allows ({} s)", job.lane, limit.as_secs()),
            )),
        };
        match result {
            Ok(Outcome::Complete(output)) => self.complete(claim, &output, &[]).await,
            Ok(Outcome::CompleteAndDiscover { output, usernames }) => self.complete(claim, &output, &usernames).await,
            Ok(Outcome::CompleteForNow { output, input, after }) => {
                let write = || self.store.complete_for_now(claim.run_key(), &output, &input, after);
                let outcome = self.write(claim, AttemptOutcome::Completed, write).await;
                self.update_cache(claim, outcome, &output).await;
                outcome
            }
            Ok(Outcome::Spawn { kept, children, stage }) => {
                let write = || self.store.spawn(claim.run_key(), &kept, &children, stage);
                self.write(claim, AttemptOutcome::Spawned, write).await
            }
            Err(error) => self.fail(claim, &error).await,
        }
    }

    async fn complete(&self, claim: &Claim, output: &Value, usernames: &[String]) -> AttemptOutcome {
        let write = || async {
            if claim.job.is_analysis() && usernames.is_empty() {
                self.store.complete_analysis(claim.run_key(), output).await
            } else {
                self.store.complete_and_discover(claim.run_key(), output, usernames).await
            }
        };
        let outcome = self.write(claim, AttemptOutcome::Completed, write).await;
        self.update_cache(claim, outcome, output).await;
        outcome
    }

    /// Updates the cached result after a completion.
    async fn update_cache(&self, claim: &Claim, outcome: AttemptOutcome, output: &Value) {
        if outcome != AttemptOutcome::Completed {
            return;
        }
        if claim.job.is_analysis() {
            self.cache.put_result(&claim.job.username, output).await;
        } else if claim.job.corrects {
            // The profile may have been analysed again since. Only the database knows the newest
            // result.
            self.cache.invalidate_result(&claim.job.username).await;
        }
    }

    async fn fail(&self, claim: &Claim, error: &JobError) -> AttemptOutcome {
        tracing::warn!(job = %claim.job.id, root = %claim.job.root, attempt = claim.job.attempt, %error, "attempt failed");
        match self.persist(claim, || self.store.fail(claim.run_key(), error)).await {
            Ok(FailOutcome::Stale) => AttemptOutcome::Lost,
            Ok(FailOutcome::Retrying { effects, .. }) => {
                self.announcer.announce(effects);
                AttemptOutcome::Failed
            }
            Ok(FailOutcome::Dead { effects }) => {
                self.announcer.announce(effects);
                AttemptOutcome::Dead
            }
            Err(_) => AttemptOutcome::Unwritten,
        }
    }

    /// Writes an outcome and announces its effects.
    async fn write<F>(&self, claim: &Claim, outcome: AttemptOutcome, write: impl Fn() -> F) -> AttemptOutcome
    where
        F: Future<Output = Result<Option<Effects>, StoreError>>,
    {
        match self.persist(claim, write).await {
            Ok(Some(effects)) => {
                self.announcer.announce(effects);
                outcome
            }
            Ok(None) => {
                tracing::warn!(job = %claim.job.id, "discarded outcome: the claim is lost");
                AttemptOutcome::Lost
            }
            Err(error) if error.is_transient() => AttemptOutcome::Unwritten,
            // Another attempt would be refused as well, so the error is permanent.
            Err(error) => self.fail(claim, &JobError::permanent("outcome-refused", error.to_string())).await,
        }
    }

    /// Repeats a write until the database answers, for at most one lease. The fencing token makes
    /// that safe: an outcome is written once.
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
                    tracing::warn!(job = %claim.job.id, %error, "could not write outcome; retrying");
                    sleep(full_jitter(attempt)).await;
                    attempt += 1;
                }
                Err(error) => {
                    tracing::error!(job = %claim.job.id, %error, "could not write outcome");
                    return Err(error);
                }
            }
        }
    }
}
