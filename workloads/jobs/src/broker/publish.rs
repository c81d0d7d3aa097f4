use std::collections::BTreeMap;

use futures::future::join_all;
use lapin::{BasicProperties, Channel, Confirmation, options::BasicPublishOptions};
use tokio::time::timeout;

use super::{Broker, BrokerError, EVENTS_EXCHANGE, JOBS_EXCHANGE, link::ANSWER};
use crate::model::{Event, Queue};

/// Most jobs that one message stands for.
pub const JOBS_A_MESSAGE: u32 = 32;
/// Jobs that become ready together spread over so many messages, if there are as many, and so over as many workers.
const SPREAD: u32 = 4;
/// Events that go out in one message.
const EVENTS_A_MESSAGE: usize = 128;

/// What became of published tickets.
#[derive(Debug, Default)]
pub struct Published {
    /// Tickets that the broker has safe in a queue.
    pub out: usize,
    /// Those that it has not, or nobody knows: one queue for each.
    pub failed: Vec<Queue>,
    /// Why the last of the failed ones failed.
    pub error: Option<String>,
}

/// A message to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bundle {
    queue: Queue,
    jobs: u32,
}

/// `ready` in as few messages as [`SPREAD`] and [`JOBS_A_MESSAGE`] allow, of about the same size for each queue.
fn bundles(ready: &[Queue]) -> Vec<Bundle> {
    let mut counts = BTreeMap::<_, (Queue, u32)>::new();
    for queue in ready {
        counts.entry((queue.kind, queue.lane)).or_insert((*queue, 0)).1 += 1;
    }
    let split = |(queue, jobs): (Queue, u32)| {
        let messages = jobs.div_ceil(JOBS_A_MESSAGE).max(jobs.min(SPREAD));
        (0..messages).map(move |i| Bundle { queue, jobs: jobs / messages + u32::from(i < jobs % messages) })
    };
    counts.into_values().flat_map(split).collect()
}

impl Broker {
    /// Publishes one ticket for each of `ready` and waits until the broker has taken them on. A ticket that no queue took is a failure, although the broker
    /// confirms it.
    pub async fn publish(&self, ready: &[Queue]) -> Published {
        let mut published = Published::default();
        if ready.is_empty() {
            return published;
        }
        let link = match self.link() {
            Ok(link) => link,
            Err(error) => {
                published.failed = ready.to_vec();
                published.error = Some(error.to_string());
                return published;
            }
        };
        let bundles = bundles(ready);
        // Each has its own deadline, so that one lost confirm does not hide the others.
        let sends = bundles.iter().map(|bundle| timeout(ANSWER, send(&link.tickets, bundle)));
        let mut silent = false;
        for (bundle, result) in bundles.iter().zip(join_all(sends).await) {
            let error = match result {
                Ok(Ok(())) => {
                    published.out += bundle.jobs as usize;
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => {
                    silent = true;
                    BrokerError::Silent(ANSWER.as_secs()).to_string()
                }
            };
            published.failed.extend((0..bundle.jobs).map(|_| bundle.queue));
            published.error = Some(error);
        }
        if silent {
            link.lost.cancel();
        }
        published
    }

    /// Publishes events without waiting for more than the socket: the store has them, and watchers look there when one is missing.
    pub async fn publish_events(&self, events: &[Event]) -> Result<(), BrokerError> {
        if events.is_empty() {
            return Ok(());
        }
        let link = self.link()?;
        for events in events.chunks(EVENTS_A_MESSAGE) {
            let Ok(body) = serde_json::to_vec(events) else { continue };
            let sent = link.events.basic_publish(
                EVENTS_EXCHANGE.into(),
                "events".into(),
                BasicPublishOptions::default(),
                &body,
                BasicProperties::default(),
            );
            match timeout(ANSWER, sent).await {
                Ok(sent) => drop(sent?),
                Err(_) => {
                    link.lost.cancel();
                    return Err(BrokerError::Silent(ANSWER.as_secs()));
                }
            }
        }
        Ok(())
    }
}

async fn send(channel: &Channel, bundle: &Bundle) -> Result<(), PublishError> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    let (queue, body) = (bundle.queue.to_string(), format!(r#"{{"jobs":{}}}"#, bundle.jobs));
    let confirm = channel
        .basic_publish(JOBS_EXCHANGE.into(), queue.as_str().into(), options, body.as_bytes(), properties)
        .await?;
    match confirm.await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            Err(PublishError::Refused(format!("{queue} took nothing: {}", returned.reply_text)))
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
        bundles(&vec![LOW; jobs]).iter().map(|bundle| bundle.jobs).collect()
    }

    #[test]
    fn few_tickets_travel_alone_and_many_together() {
        assert_eq!(sizes(3), [1, 1, 1]);
        assert_eq!(sizes(32), [8, 8, 8, 8]);
        assert_eq!(sizes(130), [26, 26, 26, 26, 26]);
    }

    proptest! {
        /// Whatever is ready: every queue gets a ticket for each of its jobs, no message is empty or too large, and none is more than one ticket larger than
        /// another one of its queue.
        #[test]
        fn every_job_has_its_ticket(low in 0_usize..500, high in 0_usize..500) {
            let ready: Vec<Queue> = std::iter::repeat_n(LOW, low).chain(std::iter::repeat_n(HIGH, high)).collect();
            let bundles = bundles(&ready);
            for (queue, jobs) in [(LOW, low), (HIGH, high)] {
                let of: Vec<u32> = bundles.iter().filter(|b| b.queue == queue).map(|b| b.jobs).collect();
                prop_assert_eq!(of.iter().sum::<u32>() as usize, jobs);
                prop_assert!(of.iter().all(|jobs| (1..=JOBS_A_MESSAGE).contains(jobs)));
                prop_assert!(of.iter().max().unwrap_or(&0) - of.iter().min().unwrap_or(&0) <= 1);
            }
        }
    }
}
