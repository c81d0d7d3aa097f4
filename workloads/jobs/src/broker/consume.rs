use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use lapin::{
    Channel, Consumer,
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
    Broker, BrokerError,
    link::{ANSWER, Link},
    publish::JOBS_A_MESSAGE,
};
use crate::model::Queue;

/// How long an open consumer may hear nothing before the queue is asked whether there is something in it.
const QUIET: Duration = Duration::from_secs(15);

/// Most messages that lie in this process' hands at once, and never more than it has free slots. RabbitMQ delivers to a consumer with 16 at a third of the
/// speed at which it delivers to one with 200.
pub const WIDEST: u16 = 256;

/// The tickets of one queue, as they are delivered.
///
/// While it is shut nothing is delivered, so no ticket waits beside a busy worker. Shut it *before* settling the last message to be sure of that.
pub struct Intake {
    queue: Queue,
    link: Link,
    channel: Channel,
    consumer: Option<Consumer>,
    /// Messages that the broker delivers ahead while the intake is open.
    width: u16,
}

/// One delivered message, or several in the order of their delivery. Dropping it unsettled leaves it with the broker until the intake ends. Settling it
/// settles what the same intake delivered before it as well.
pub struct Message {
    /// How many jobs it says can be claimed.
    pub tickets: u32,
    last: Delivery,
}

impl Broker {
    /// An intake of `queue`, shut for now.
    pub async fn intake(&self, queue: Queue) -> Result<Intake, BrokerError> {
        let link = self.link()?;
        let channel = answered(link.connection.create_channel()).await?;
        Ok(Intake { queue, link, channel, consumer: None, width: 0 })
    }

    /// Messages that lie in `queue`, ready to be delivered.
    pub async fn depth(&self, queue: Queue) -> Result<u32, BrokerError> {
        depth(&self.link()?, queue).await
    }
}

impl Intake {
    /// Lets messages come, up to `ahead` of them (at most [`WIDEST`]) before the first is settled. An intake that is open already stays as it is, unless it
    /// has become far too narrow.
    pub async fn open(&mut self, ahead: u32) -> Result<(), BrokerError> {
        let width = u16::try_from(ahead).unwrap_or(WIDEST).clamp(1, WIDEST);
        if self.consumer.is_some() && width >= self.width.saturating_mul(4) {
            self.shut().await?;
        }
        if self.consumer.is_none() {
            if width != self.width {
                // Holds for consumers that begin after it.
                answered(self.channel.basic_qos(width, BasicQosOptions::default())).await?;
                self.width = width;
            }
            let name = self.queue.to_string();
            let consuming = self.channel.basic_consume(
                name.as_str().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            self.consumer = Some(answered(consuming).await?);
        }
        Ok(())
    }

    /// Stops messages from coming; those that were delivered and not handed out go back.
    pub async fn shut(&mut self) -> Result<(), BrokerError> {
        let Some(mut consumer) = self.consumer.take() else { return Ok(()) };
        answered(self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await?;
        while let Ok(Some(Ok(delivery))) = timeout(ANSWER, consumer.next()).await {
            answered(delivery.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() })).await?;
        }
        Ok(())
    }

    /// The next message; waits for it. An error means that this intake is of no more use.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Message, BrokerError> {
        let (link, queue) = (self.link.clone(), self.queue);
        let Some(consumer) = &mut self.consumer else { return std::future::pending().await };
        let mut suspicious = false;
        loop {
            let next = tokio::select! {
                next = timeout(if suspicious { ANSWER } else { QUIET }, consumer.next()) => next,
                () = link.lost.cancelled() => return Err(BrokerError::Away),
            };
            match next {
                Ok(Some(Ok(delivery))) => return Ok(Message::new(delivery)),
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Err(BrokerError::Away),
                // A message that another process gives back may lie there for a moment; twice in a row it means that this consumer is deaf.
                Err(_) => match (depth(&link, queue).await?, suspicious) {
                    (0, _) => suspicious = false,
                    (_, false) => suspicious = true,
                    (_, true) => return Err(BrokerError::Stalled(queue)),
                },
            }
        }
    }

    /// Adds what has been delivered already to `message`, as long as it has fewer than `enough` tickets.
    pub fn gather(&mut self, message: &mut Message, enough: u32) {
        while message.tickets < enough
            && let Some(consumer) = &mut self.consumer
        {
            match consumer.next().now_or_never() {
                None => return,
                Some(Some(Ok(delivery))) => {
                    let next = Message::new(delivery);
                    message.tickets = message.tickets.saturating_add(next.tickets);
                    message.last = next.last;
                }
                // Ended by the broker: to open it again shows whether the rest still works.
                Some(Some(Err(_)) | None) => self.consumer = None,
            }
        }
    }

    /// Closes the channel; what was not acknowledged goes back to the queue.
    pub async fn close(self) {
        let _ = timeout(ANSWER, self.channel.close(200, "done".into())).await;
    }
}

impl Message {
    fn new(delivery: Delivery) -> Self {
        Self { tickets: tickets(&delivery.data), last: delivery }
    }

    /// The message has done its duty.
    pub async fn acknowledge(self) -> Result<(), BrokerError> {
        answered(self.last.ack(BasicAckOptions { multiple: true })).await.map(drop)
    }

    /// Somebody else is to have it.
    pub async fn give_back(self) -> Result<(), BrokerError> {
        answered(self.last.nack(BasicNackOptions { multiple: true, requeue: true })).await.map(drop)
    }
}

/// What a message says. One that makes no sense, or names a job as older versions did, is one ticket: to look costs little.
fn tickets(body: &[u8]) -> u32 {
    #[derive(Deserialize)]
    struct Body {
        jobs: u32,
    }
    serde_json::from_slice::<Body>(body).map_or(1, |body| body.jobs.clamp(1, JOBS_A_MESSAGE))
}

async fn depth(link: &Link, queue: Queue) -> Result<u32, BrokerError> {
    let name = queue.to_string();
    let asked =
        link.probe.queue_declare(name.as_str().into(), QueueDeclareOptions::durable().passive(), FieldTable::default());
    Ok(answered(asked).await?.message_count())
}

/// Whatever is asked of a connection that dies at that moment may never be answered, not even with an error.
async fn answered<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T, BrokerError> {
    match timeout(ANSWER, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(BrokerError::Silent(ANSWER.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_worth_what_it_says_within_reason_and_one_ticket_when_it_says_nothing() {
        assert_eq!(tickets(br#"{"jobs":7}"#), 7);
        assert_eq!(tickets(br#"{"jobs":4000000000}"#), JOBS_A_MESSAGE);
        for odd in [&b""[..], b"nonsense", br#"{"jobs":0}"#, br#"{"jobs":-3}"#, br#"{"job":"0190"}"#] {
            assert_eq!(tickets(odd), 1, "{}", String::from_utf8_lossy(odd));
        }
    }
}
