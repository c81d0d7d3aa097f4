//! Takes jobs out of one queue, as slots allow.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Metrics,
    attempt::Bench,
    held::Claims,
    slots::{Slot, Slots},
};
use crate::{
    broker::{Broker, BrokerError, Intake, Message},
    model::{JobId, Queue},
    resilience::full_jitter,
    store::{Claim, Lease},
};

/// Wait before a broken intake is made anew.
const AGAIN: Duration = Duration::from_millis(250);

/// One lane of a worker process.
pub(super) struct LaneRunner {
    pub queue: Queue,
    /// What one attempt may take.
    pub limit: Duration,
    pub worker: String,
    pub broker: Broker,
    pub slots: Arc<Slots>,
    pub claims: Claims,
    pub bench: Arc<Bench>,
    pub metrics: Metrics,
    pub running: TaskTracker,
    /// Fires when no more jobs are to be taken.
    pub stop: CancellationToken,
}

impl LaneRunner {
    /// Runs until told to stop; jobs that it began go on.
    pub(super) async fn run(&self) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.broker.connected() => {}
            }
            if let Err(error) = self.serve().await {
                tracing::warn!(queue = %self.queue, %error, "taking jobs was interrupted");
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = sleep(AGAIN) => {}
                }
            }
        }
    }

    async fn serve(&self) -> Result<(), BrokerError> {
        let lane = self.queue.lane;
        let mut intake = self.broker.intake(self.queue).await?;
        loop {
            tokio::select! {
                () = self.slots.until(lane, true) => {}
                () = self.stop.cancelled() => break,
            }
            intake.open().await?;
            let message = tokio::select! {
                message = intake.next() => message?,
                () = self.slots.until(lane, false) => {
                    intake.shut().await?;
                    continue;
                }
                () = self.stop.cancelled() => break,
            };
            self.take(&mut intake, message).await?;
        }
        intake.shut().await?;
        intake.close().await;
        Ok(())
    }

    /// Slot, claim, acknowledgement, in this order; then the job runs on its own.
    async fn take(&self, intake: &mut Intake, message: Message) -> Result<(), BrokerError> {
        let Some(job) = message.job else {
            tracing::warn!(queue = %self.queue, "a message that makes no sense was dropped");
            return message.acknowledge().await;
        };
        let Some(slot) = self.slots.take(self.queue.lane) else {
            // Another lane was quicker. Shut first: the message must not come back here.
            intake.shut().await?;
            return message.give_back().await;
        };
        let claim = self.claim(job).await;
        match claim {
            Some(claim) => self.begin(claim, slot),
            None => self.metrics.stale(),
        }
        if !self.slots.admits(self.queue.lane) {
            intake.shut().await?;
        }
        message.acknowledge().await
    }

    /// Tries while the database is away: the message waits meanwhile, and so does nobody else, since the slot is taken.
    async fn claim(&self, job: JobId) -> Option<Claim> {
        let lease = Lease { worker: &self.worker, kind: self.queue.kind, duration: self.bench.lease };
        let mut attempt = 0;
        loop {
            match self.bench.store.claim(job, &lease).await {
                Ok(claim) => return claim,
                // After an interruption the claim may stand without anyone to know; then its lease runs out.
                Err(error) if error.is_passing() && !self.stop.is_cancelled() => {
                    tracing::warn!(%job, %error, "claim failed; trying again");
                    sleep(full_jitter(attempt)).await;
                    attempt += 1;
                }
                Err(error) => {
                    tracing::error!(%job, %error, "claim failed; the relay will send the job again");
                    return None;
                }
            }
        }
    }

    fn begin(&self, claim: Claim, slot: Slot) {
        let seat = self.claims.add(&claim);
        let (bench, metrics, limit) = (self.bench.clone(), self.metrics.clone(), self.limit);
        bench.announcer.announce(claim.effects.clone());
        self.running.spawn(async move {
            let (kind, lane) = (claim.job.kind, claim.job.lane);
            let began = std::time::Instant::now();
            metrics.began(kind, lane);
            let ending = bench.run(&claim, &seat, limit).await;
            metrics.ended(kind, lane, ending, began.elapsed().as_secs_f64());
            tracing::info!(job = %claim.job.id, root = %claim.job.root, %kind, %lane, attempt = claim.job.attempt, ending,
                seconds = began.elapsed().as_secs_f64(), "attempt ended");
            drop(slot);
        });
    }
}
