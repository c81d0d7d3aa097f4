//! Takes jobs out of one queue, as slots allow.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    Metrics,
    attempt::Bench,
    held::Claims,
    slots::{Slot, Slots},
};
use crate::{
    broker::{Broker, BrokerError, Consumer, Message},
    model::{Effects, Queue},
    resilience::{deadline, full_jitter},
    store::{Claim, Lease, StoreError},
    trace::{self, Span},
};

/// Wait before a broken consumer is recreated.
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
            self.take(&mut consumer, message).await?;
        }
        consumer.pause().await?;
        consumer.close().await;
        Ok(())
    }

    /// Slots, claims, acknowledgement, in this order; then the jobs run on their own.
    async fn take(&self, consumer: &mut Consumer, mut message: Message) -> Result<(), BrokerError> {
        let lane = self.queue.lane;
        consumer.extend(&mut message, self.slots.room(lane));
        let mut slots = self.slots.take(lane, message.tickets);
        let (wanted, rest) = (slots.len(), message.tickets as usize - slots.len());
        if wanted == 0 {
            // Another lane was quicker. Shut first: the tickets must not come back here.
            consumer.pause().await?;
            return message.release().await;
        }
        let (claims, shut) = self.claim(consumer, wanted).await;
        let Some(claims) = claims else {
            shut?;
            return message.release().await;
        };
        let claimed = claims.len();
        self.begin(claims, &mut slots);
        drop(slots);
        self.metrics.stale(wanted.saturating_sub(claimed));
        shut?;
        // Fewer claims than slots mean that nothing more is there to be claimed: what tickets are left are worth nothing.
        if rest > 0 && claimed == wanted {
            let published = self.broker.publish(&vec![self.queue; rest]).await;
            if let Some(error) = published.error {
                tracing::debug!(queue = %self.queue, error, "tickets not passed on; giving them back");
                return message.release().await;
            }
        }
        message.acknowledge().await
    }

    /// Claims `most` jobs, and shuts the consumer meanwhile when the lane has no more slots: what this process cannot run is for others, at once.
    /// Tries while the database is away: the tickets in hand wait, those that are not are for whoever reaches it. No claims when told to stop; the second
    /// answer is how the shutting went.
    async fn claim(&self, consumer: &mut Consumer, most: usize) -> (Option<Vec<Claim>>, Result<(), BrokerError>) {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        // One name for all attempts: a claim whose answer was lost is answered again, and not made twice.
        let mut lease = Lease { worker: &self.worker, duration: self.bench.lease, call: Uuid::now_v7(), again: false };
        let full = self.slots.room(self.queue.lane) == 0;
        let shutting = async { if full { consumer.pause().await } else { Ok(()) } };
        let (mut answer, mut shut) = tokio::join!(self.ask(most, &lease), shutting);
        let mut attempt = 0;
        loop {
            let error = match answer {
                Ok(claims) => return (Some(claims), shut),
                Err(error) if error.is_transient() => error,
                Err(error) => {
                    tracing::error!(queue = %self.queue, %error, "claim failed; the relay will tell of the jobs again");
                    return (Some(Vec::new()), shut);
                }
            };
            if self.stop.is_cancelled() {
                return (None, shut);
            }
            tracing::warn!(queue = %self.queue, %error, "claim failed; trying again");
            shut = shut.and(consumer.pause().await);
            lease.again |= !error.is_unsent();
            tokio::select! {
                () = sleep(full_jitter(attempt)) => {}
                () = self.stop.cancelled() => {}
            }
            attempt += 1;
            answer = self.ask(most, &lease).await;
        }
    }

    /// One attempt to claim. What was claimed without our knowledge is anybody's again once the lease is over, so that there is no use in waiting longer.
    async fn ask(&self, most: u32, lease: &Lease<'_>) -> Result<Vec<Claim>, StoreError> {
        deadline::scope(Instant::now() + lease.duration, self.bench.store.claim(self.queue, most, lease)).await
    }

    /// Runs each claim in a slot; slots that none needs are left.
    fn begin(&self, mut claims: Vec<Claim>, slots: &mut Vec<Slot>) {
        let mut effects = Effects::default();
        for claim in &mut claims {
            let one = std::mem::take(&mut claim.effects);
            effects.ready.extend(one.ready);
            effects.events.extend(one.events);
        }
        self.bench.announcer.announce(effects);
        for claim in claims {
            // Never more claims than slots were asked for; if there were, they would be run nevertheless, since nobody else can.
            let slot = slots.pop();
            // Its time, and once more the lease to write what came of it.
            let seat = self.claims.add(&claim, self.limit + self.bench.lease);
            let (bench, metrics, limit) = (self.bench.clone(), self.metrics.clone(), self.limit);
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
                let ending = bench.run(&claim, &seat, limit).await;
                let took = began.elapsed();
                metrics.ended(&claim, ending, took);
                if ending.is_failure() {
                    span.fail(ending.as_str());
                }
                tracing::info!(root = %job.root, %kind, %lane, attempt = job.attempt, ending = ending.as_str(),
                    seconds = took.as_secs_f64(), "attempt ended");
                drop(slot);
            };
            self.running.spawn(trace::scope(context, work).instrument(log));
        }
    }
}
