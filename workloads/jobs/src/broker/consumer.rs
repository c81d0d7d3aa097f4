//! Consuming tickets from one queue.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use lapin::{
    Channel,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    connection::{Broker, Connection, RESPONSE_TIMEOUT},
    error::BrokerError,
    publisher::JOBS_PER_MESSAGE,
};
use crate::model::Queue;

/// Time without a delivery after which the consumer checks whether its queue holds messages.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);

/// Upper limit of the prefetch count, which is otherwise the number of free slots.
///
/// RabbitMQ delivers with a prefetch of 16 at a third of the speed that it reaches with 200.
pub const MAX_PREFETCH: u16 = 256;

/// A consumer of the tickets of one queue.
///
/// While it is paused the broker delivers nothing, so no ticket waits at a busy worker. To be sure
/// of that, pause it *before* you settle the last message.
pub struct Consumer {
    queue: Queue,
    connection: Connection,
    channel: Channel,
    /// `None` while paused.
    deliveries: Option<lapin::Consumer>,
    /// Prefetch count of the channel.
    prefetch: u16,
}

/// One delivered message, or several in the order of their delivery.
///
/// Settling it also settles what the same consumer received before it. If it is dropped unsettled,
/// the broker keeps it until the consumer closes.
pub struct Message {
    /// Number of jobs that can be claimed.
    pub tickets: u32,
    last: Delivery,
}

impl Broker {
    /// Creates a consumer of `queue`, paused at first.
    ///
    /// # Errors
    /// [`BrokerError::Disconnected`] without a connection, or why the channel could not be opened.
    pub async fn consumer(&self, queue: Queue) -> Result<Consumer, BrokerError> {
        let connection = self.current()?;
        let channel = within_timeout(connection.amqp.create_channel()).await?;
        Ok(Consumer { queue, connection, channel, deliveries: None, prefetch: 0 })
    }

    /// Number of messages in `queue` that are ready for delivery.
    ///
    /// # Errors
    /// [`BrokerError`] if the broker is disconnected or does not answer within 5 s.
    pub async fn depth(&self, queue: Queue) -> Result<u32, BrokerError> {
        depth(&self.current()?, queue).await
    }
}

impl Consumer {
    /// Resumes deliveries, with up to `prefetch` unsettled messages (at most [`MAX_PREFETCH`]).
    ///
    /// A running consumer keeps its prefetch count until `prefetch` is at least four times as high.
    ///
    /// # Errors
    /// [`BrokerError`] if the broker refuses or does not answer; close this consumer then.
    pub async fn resume(&mut self, prefetch: u32) -> Result<(), BrokerError> {
        let prefetch = u16::try_from(prefetch).unwrap_or(MAX_PREFETCH).clamp(1, MAX_PREFETCH);
        if self.deliveries.is_some() && prefetch >= self.prefetch.saturating_mul(4) {
            self.pause().await?;
        }
        if self.deliveries.is_none() {
            if prefetch != self.prefetch {
                // Applies to AMQP consumers that start after it.
                within_timeout(self.channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
                self.prefetch = prefetch;
            }
            let name = self.queue.to_string();
            let consuming = self.channel.basic_consume(
                name.as_str().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            self.deliveries = Some(within_timeout(consuming).await?);
        }
        Ok(())
    }

    /// Pauses deliveries, and requeues those that were prefetched and not returned yet.
    ///
    /// # Errors
    /// [`BrokerError`] if the broker refuses or does not answer; close this consumer then.
    pub async fn pause(&mut self) -> Result<(), BrokerError> {
        let Some(mut deliveries) = self.deliveries.take() else { return Ok(()) };
        within_timeout(self.channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default())).await?;
        while let Ok(Some(Ok(delivery))) = timeout(RESPONSE_TIMEOUT, deliveries.next()).await {
            within_timeout(delivery.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() })).await?;
        }
        Ok(())
    }

    /// Waits for the next message; forever while paused. Cancel safe: dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// [`BrokerError::Stalled`] if the queue holds messages and none is delivered, or why the
    /// connection failed. Close this consumer then.
    pub async fn next(&mut self) -> Result<Message, BrokerError> {
        let (connection, queue) = (self.connection.clone(), self.queue);
        let Some(deliveries) = &mut self.deliveries else { return std::future::pending().await };
        let mut suspicious = false;
        loop {
            let next = tokio::select! {
                next = timeout(if suspicious { RESPONSE_TIMEOUT } else { DELIVERY_TIMEOUT }, deliveries.next()) => next,
                () = connection.lost.cancelled() => return Err(BrokerError::Disconnected),
            };
            match next {
                Ok(Some(Ok(delivery))) => return Ok(Message::new(delivery)),
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Err(BrokerError::Disconnected),
                // Another process may just have requeued a message. Two checks in a row mean a
                // stalled consumer.
                Err(_) => match (depth(&connection, queue).await?, suspicious) {
                    (0, _) => suspicious = false,
                    (_, false) => suspicious = true,
                    (_, true) => return Err(BrokerError::Stalled(queue)),
                },
            }
        }
    }

    /// Adds prefetched messages to `message` until it has at least `enough` tickets. Does not wait.
    pub fn extend(&mut self, message: &mut Message, enough: u32) {
        while message.tickets < enough
            && let Some(deliveries) = &mut self.deliveries
        {
            match deliveries.next().now_or_never() {
                None => return,
                Some(Some(Ok(delivery))) => {
                    let next = Message::new(delivery);
                    message.tickets = message.tickets.saturating_add(next.tickets);
                    message.last = next.last;
                }
                // The broker cancelled the AMQP consumer: the next resume shows whether the channel
                // still works.
                Some(Some(Err(_)) | None) => self.deliveries = None,
            }
        }
    }

    /// Closes the channel. The broker requeues what was not acknowledged.
    pub async fn close(self) {
        let _ = timeout(RESPONSE_TIMEOUT, self.channel.close(200, "done".into())).await;
    }
}

impl Message {
    fn new(delivery: Delivery) -> Self {
        Self { tickets: tickets(&delivery.data), last: delivery }
    }

    /// Acknowledges the message: the broker deletes it.
    ///
    /// # Errors
    /// [`BrokerError`] if the broker does not answer; it then delivers the message again.
    pub async fn acknowledge(self) -> Result<(), BrokerError> {
        within_timeout(self.last.ack(BasicAckOptions { multiple: true })).await.map(drop)
    }

    /// Releases the message (`basic.nack` with requeue): the broker delivers it to another
    /// consumer.
    ///
    /// # Errors
    /// [`BrokerError`] if the broker does not answer; closing the consumer releases it as well.
    pub async fn release(self) -> Result<(), BrokerError> {
        within_timeout(self.last.nack(BasicNackOptions { multiple: true, requeue: true })).await.map(drop)
    }
}

/// Number of tickets in a message body. A body that cannot be parsed counts as one ticket, because
/// an attempt to claim is cheap.
fn tickets(body: &[u8]) -> u32 {
    #[derive(Deserialize)]
    struct Body {
        jobs: u32,
    }
    serde_json::from_slice::<Body>(body).map_or(1, |body| body.jobs.clamp(1, JOBS_PER_MESSAGE))
}

async fn depth(connection: &Connection, queue: Queue) -> Result<u32, BrokerError> {
    let name = queue.to_string();
    let declared = connection.probe.queue_declare(
        name.as_str().into(),
        QueueDeclareOptions::durable().passive(),
        FieldTable::default(),
    );
    Ok(within_timeout(declared).await?.message_count())
}

/// Limits the wait for an answer: lapin may never resolve a call on a connection that dies
/// meanwhile.
async fn within_timeout<T>(call: impl Future<Output = lapin::Result<T>>) -> Result<T, BrokerError> {
    match timeout(RESPONSE_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(BrokerError::Timeout(RESPONSE_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_count_is_bounded_and_defaults_to_one() {
        assert_eq!(tickets(br#"{"jobs":7}"#), 7);
        assert_eq!(tickets(br#"{"jobs":4000000000}"#), JOBS_PER_MESSAGE);
        for odd in [&b""[..], b"nonsense", br#"{"jobs":0}"#, br#"{"jobs":-3}"#, br#"{"job":"0190"}"#] {
            assert_eq!(tickets(odd), 1, "{}", String::from_utf8_lossy(odd));
        }
    }
}
