//! Claims jobs of one queue as tickets arrive and slots are free.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    attempt::AttemptContext,
    leases::{ActiveLeases, LeaseGuard},
    metrics::Metrics,
    slots::{Slot, Slots},
};
use crate::{
    broker::{Broker, BrokerError, Consumer, Message},
    model::{Effects, Queue},
    resilience::{deadline, full_jitter},
    store::{Claim, Lease, StoreError},
    trace::{self, Span},
};

/// Delay before a failed consumer is recreated.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// One lane of a worker process.
pub(super) struct LaneRunner {
    pub queue: Queue,
    /// Time limit of one attempt.
    pub limit: Duration,
    pub worker: String,
    pub broker: Broker,
    pub slots: Arc<Slots>,
    pub leases: ActiveLeases,
    pub context: Arc<AttemptContext>,
    pub metrics: Metrics,
    /// The attempts that run.
    pub running: TaskTracker,
    /// Cancelled when no more jobs may be claimed.
    pub stop: CancellationToken,
}

/// The result of [`LaneRunner::claim`].
struct ClaimResult {
    /// `None` if the process stopped before the database answered.
    claims: Option<Vec<Claim>>,
    /// Whether deliveries could be paused. The claims must run even if not.
    paused: Result<(), BrokerError>,
}

impl LaneRunner {
    /// Runs until `stop`. Attempts that it has started continue.
    pub(super) async fn run(&self) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.broker.connected() => {}
            }
            if let Err(error) = self.consume().await {
                tracing::warn!(queue = %self.queue, %error, "lost consumer; recreating it");
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = sleep(RETRY_DELAY) => {}
                }
            }
        }
    }

    /// Receives tickets while there are slots. Without slots deliveries are paused.
    async fn consume(&self) -> Result<(), BrokerError> {
        let lane = self.queue.lane;
        let mut consumer = self.broker.consumer(self.queue).await?;
        loop {
            tokio::select! {
                () = self.slots.until(lane, true) => {}
                () = self.stop.cancelled() => break,
            }
            consumer.resume(self.slots.room(lane)).await?;
            let message = tokio::select! {
                message = consumer.next() => message?,
                () = self.slots.until(lane, false) => {
                    consumer.pause().await?;
                    continue;
                }
                () = self.stop.cancelled() => break,
            };
            self.handle(&mut consumer, message).await?;
        }
        consumer.pause().await?;
        consumer.close().await;
        Ok(())
    }

    /// Takes slots, claims as many jobs, starts their attempts, and settles the tickets.
    async fn handle(&self, consumer: &mut Consumer, mut message: Message) -> Result<(), BrokerError> {
        let lane = self.queue.lane;
        consumer.extend(&mut message, self.slots.room(lane));
        let mut slots = self.slots.take(lane, message.tickets);
        let (taken, rest) = (slots.len(), message.tickets as usize - slots.len());
        if taken == 0 {
            // Another lane took the last slot. Pause first, or the tickets would return to this
            // process.
            consumer.pause().await?;
            return message.release().await;
        }
        let ClaimResult { claims, paused } = self.claim(consumer, taken).await;
        let Some(claims) = claims else {
            paused?;
            return message.release().await;
        };
        let claimed = claims.len();
        self.start(claims, &mut slots);
        drop(slots);
        self.metrics.stale(taken.saturating_sub(claimed));
        paused?;
        // With fewer claims than slots nothing more is claimable, and the remaining tickets are
        // stale.
        if rest > 0 && claimed == taken {
            let published = self.broker.publish(&vec![self.queue; rest]).await;
            if let Some(error) = published.error {
                tracing::debug!(queue = %self.queue, error, "could not republish tickets; requeuing them");
                return message.release().await;
            }
        }
        message.acknowledge().await
    }

    /// Claims up to `limit` jobs, and retries while the database is unavailable. Deliveries are
    /// paused when the lane has no slot left, or when a claim failed: other workers then get the
    /// tickets.
    async fn claim(&self, consumer: &mut Consumer, limit: usize) -> ClaimResult {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        // All attempts have the same call id, so a claim whose response was lost is not made twice.
        let call = Uuid::now_v7();
        let mut lease = Lease { worker: &self.worker, duration: self.context.lease, call, again: false };
        let mut paused = Ok(());
        let mut attempt = 0;
        loop {
            let full = self.slots.room(self.queue.lane) == 0;
            let pause = async { if full { consumer.pause().await } else { Ok(()) } };
            let (result, pause) = tokio::join!(self.try_claim(limit, &lease), pause);
            paused = paused.and(pause);
            match result {
                Ok(claims) => return ClaimResult { claims: Some(claims), paused },
                Err(error) if !error.is_transient() => {
                    tracing::error!(queue = %self.queue, %error, "could not claim; the relay will publish the tickets again");
                    return ClaimResult { claims: Some(Vec::new()), paused };
                }
                Err(_) if self.stop.is_cancelled() => return ClaimResult { claims: None, paused },
                Err(error) => {
                    tracing::warn!(queue = %self.queue, %error, "could not claim; retrying");
                    lease.again |= !error.is_unsent();
                }
            }
            paused = paused.and(consumer.pause().await);
            tokio::select! {
                () = sleep(full_jitter(attempt)) => {}
                () = self.stop.cancelled() => {}
            }
            attempt += 1;
        }
    }

    /// One attempt to claim. After the duration of the lease a lost response no longer matters:
    /// other workers can claim the jobs.
    async fn try_claim(&self, limit: u32, lease: &Lease<'_>) -> Result<Vec<Claim>, StoreError> {
        deadline::scope(Instant::now() + lease.duration, self.context.store.claim(self.queue, limit, lease)).await
    }

    /// Starts an attempt for each claim, with a slot for each. Unused slots are left in `slots`.
    fn start(&self, mut claims: Vec<Claim>, slots: &mut Vec<Slot>) {
        let mut effects = Effects::default();
        for claim in &mut claims {
            effects.extend(std::mem::take(&mut claim.effects));
        }
        self.context.announcer.announce(effects);
        for claim in claims {
            // The store returns no more claims than asked for. If it did, they would have to run
            // all the same, because no other worker can.
            let slot = slots.pop();
            // After its time limit an attempt may need another lease to write its outcome.
            let lease = self.leases.add(&claim, self.limit + self.context.lease);
            self.spawn(claim, lease, slot);
        }
    }

    /// Runs one attempt in a task of its own, with span and metrics.
    fn spawn(&self, claim: Claim, lease: LeaseGuard, slot: Option<Slot>) {
        let (attempts, metrics, limit) = (self.context.clone(), self.metrics.clone(), self.limit);
        let mut span = Span::begin(trace::Kind::Consumer, claim.trace, format!("{} job", claim.job.kind));
        let context = span.context();
        let log = tracing::info_span!("attempt", job = %claim.job.id, trace = context.trace_id());
        let work = async move {
            let job = &claim.job;
            let (kind, lane, began) = (job.kind, job.lane, std::time::Instant::now());
            metrics.began(&claim);
            span.set("switchyard.job", job.id.to_string());
            span.set("switchyard.kind", kind.as_str());
            span.set("switchyard.lane", lane.as_str());
            span.set("switchyard.attempt", i64::from(job.attempt));
            span.set("messaging.system", "rabbitmq");
            let outcome = attempts.run(&claim, &lease, limit).await;
            let took = began.elapsed();
            metrics.ended(&claim, outcome, took);
            if outcome.is_failure() {
                span.fail(outcome.as_str());
            }
            tracing::info!(root = %job.root, %kind, %lane, attempt = job.attempt, outcome = outcome.as_str(),
                seconds = took.as_secs_f64(), "attempt ended");
            drop(slot);
        };
        self.running.spawn(trace::scope(context, work).instrument(log));
    }
}
