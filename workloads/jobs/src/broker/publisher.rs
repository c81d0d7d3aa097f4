//! Publishing tickets and events.

use std::collections::BTreeMap;

use futures::future::join_all;
use lapin::{BasicProperties, Channel, Confirmation, options::BasicPublishOptions};
use tokio::time::timeout;

use super::{
    connection::{Broker, RESPONSE_TIMEOUT},
    error::BrokerError,
    topology::{EVENTS_EXCHANGE, JOBS_EXCHANGE},
};
use crate::model::{Event, Queue};

/// Most tickets in one message.
pub const JOBS_PER_MESSAGE: u32 = 32;
/// Jobs that become ready together are split into at least so many messages, for as many workers.
const MIN_MESSAGES: u32 = 4;
/// Most events in one message.
const EVENTS_PER_MESSAGE: usize = 128;

/// The outcome of [`Broker::publish`].
#[derive(Debug, Default)]
pub struct Published {
    /// Number of tickets that the broker confirmed and routed.
    pub confirmed: usize,
    /// The queue of each ticket that was not confirmed.
    pub failed: Vec<Queue>,
    /// Cause of the last failure.
    pub error: Option<String>,
}

/// A message to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TicketBatch {
    queue: Queue,
    jobs: u32,
}

/// Splits `ready` into as few messages as [`MIN_MESSAGES`] and [`JOBS_PER_MESSAGE`] allow, of about
/// the same size for each queue.
fn batches(ready: &[Queue]) -> Vec<TicketBatch> {
    let mut counts = BTreeMap::<_, (Queue, u32)>::new();
    for queue in ready {
        counts.entry((queue.kind, queue.lane)).or_insert((*queue, 0)).1 += 1;
    }
    let split = |(queue, jobs): (Queue, u32)| {
        let messages = jobs.div_ceil(JOBS_PER_MESSAGE).max(jobs.min(MIN_MESSAGES));
        (0..messages).map(move |i| TicketBatch { queue, jobs: jobs / messages + u32::from(i < jobs % messages) })
    };
    counts.into_values().flat_map(split).collect()
}

impl Broker {
    /// Publishes one ticket for each of `ready`, and waits for the broker's confirms.
    ///
    /// A ticket that was not routed to a queue counts as failed, although the broker confirms it.
    pub async fn publish(&self, ready: &[Queue]) -> Published {
        let mut published = Published::default();
        if ready.is_empty() {
            return published;
        }
        let connection = match self.current() {
            Ok(connection) => connection,
            Err(error) => {
                published.failed = ready.to_vec();
                published.error = Some(error.to_string());
                return published;
            }
        };
        let batches = batches(ready);
        // Each has its own timeout, so that one lost confirm does not fail the others.
        let sends = batches.iter().map(|batch| timeout(RESPONSE_TIMEOUT, send(&connection.tickets, batch)));
        let mut timed_out = false;
        for (batch, result) in batches.iter().zip(join_all(sends).await) {
            let error = match result {
                Ok(Ok(())) => {
                    published.confirmed += batch.jobs as usize;
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => {
                    timed_out = true;
                    BrokerError::Timeout(RESPONSE_TIMEOUT.as_secs()).to_string()
                }
            };
            published.failed.extend((0..batch.jobs).map(|_| batch.queue));
            published.error = Some(error);
        }
        if timed_out {
            connection.lost.cancel();
        }
        published
    }

    /// Publishes events without confirms: watchers read a missing event from the store.
    ///
    /// # Errors
    /// [`BrokerError`] if the broker is disconnected or did not accept the bytes within 5 s.
    pub async fn publish_events(&self, events: &[Event]) -> Result<(), BrokerError> {
        if events.is_empty() {
            return Ok(());
        }
        let connection = self.current()?;
        for events in events.chunks(EVENTS_PER_MESSAGE) {
            let Ok(body) = serde_json::to_vec(events) else { continue };
            let sent = connection.events.basic_publish(
                EVENTS_EXCHANGE.into(),
                "events".into(),
                BasicPublishOptions::default(),
                &body,
                BasicProperties::default(),
            );
            match timeout(RESPONSE_TIMEOUT, sent).await {
                Ok(sent) => drop(sent?),
                Err(_) => {
                    connection.lost.cancel();
                    return Err(BrokerError::Timeout(RESPONSE_TIMEOUT.as_secs()));
                }
            }
        }
        Ok(())
    }
}

async fn send(channel: &Channel, batch: &TicketBatch) -> Result<(), PublishError> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    let (queue, body) = (batch.queue.to_string(), format!(r#"{{"jobs":{}}}"#, batch.jobs));
    let confirm = channel
        .basic_publish(JOBS_EXCHANGE.into(), queue.as_str().into(), options, body.as_bytes(), properties)
        .await?;
    match confirm.await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            Err(PublishError::Refused(format!("{queue} did not route the message: {}", returned.reply_text)))
        }
        Confirmation::Nack(None) => Err(PublishError::Refused(format!("{queue} refused the message"))),
        Confirmation::NotRequested => Err(PublishError::Refused("the broker does not confirm".to_owned())),
    }
}

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Broker(#[from] lapin::Error),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switchyard_contract::{Kind, Lane};

    use super::*;

    const LOW: Queue = Queue { kind: Kind::General, lane: Lane::Low };
    const HIGH: Queue = Queue { kind: Kind::Ai, lane: Lane::High };

    fn sizes(jobs: usize) -> Vec<u32> {
        batches(&vec![LOW; jobs]).iter().map(|batch| batch.jobs).collect()
    }

    #[test]
    fn tickets_are_batched_per_queue() {
        assert_eq!(sizes(3), [1, 1, 1]);
        assert_eq!(sizes(32), [8, 8, 8, 8]);
        assert_eq!(sizes(130), [26, 26, 26, 26, 26]);
    }

    proptest! {
        /// Every queue gets one ticket for each of its jobs. No message is empty or too large. The
        /// messages of a queue differ by at most one ticket.
        #[test]
        fn every_job_has_one_ticket(low in 0_usize..500, high in 0_usize..500) {
            let ready: Vec<Queue> = std::iter::repeat_n(LOW, low).chain(std::iter::repeat_n(HIGH, high)).collect();
            let batches = batches(&ready);
            for (queue, jobs) in [(LOW, low), (HIGH, high)] {
                let of: Vec<u32> = batches.iter().filter(|b| b.queue == queue).map(|b| b.jobs).collect();
                prop_assert_eq!(of.iter().sum::<u32>() as usize, jobs);
                prop_assert!(of.iter().all(|jobs| (1..=JOBS_PER_MESSAGE).contains(jobs)));
                prop_assert!(of.iter().max().unwrap_or(&0) - of.iter().min().unwrap_or(&0) <= 1);
            }
        }
    }
}
