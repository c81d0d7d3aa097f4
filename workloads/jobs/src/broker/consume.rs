use std::time::Duration;

use futures::StreamExt as _;
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
};
use crate::model::{JobId, Queue};

/// How long an open consumer may hear nothing before the queue is asked whether there is something in it.
const QUIET: Duration = Duration::from_secs(15);

/// Pointers from one queue, at most one at a time in this process' hands: the next one comes only after the last was acknowledged.
///
/// While it is shut nothing is delivered, so no message waits beside a busy worker. Shut it *before* acknowledging the last message to be sure of that.
pub struct Intake {
    queue: Queue,
    link: Link,
    channel: Channel,
    consumer: Option<Consumer>,
}

/// A delivered pointer. Dropping it unacknowledged leaves it with the broker until the intake ends.
pub struct Message {
    /// The job to look at; `None` when the message makes no sense.
    pub job: Option<JobId>,
    delivery: Delivery,
}

impl Broker {
    /// An intake of `queue`, shut for now.
    pub async fn intake(&self, queue: Queue) -> Result<Intake, BrokerError> {
        let link = self.link()?;
        let channel = answered(link.connection.create_channel()).await?;
        answered(channel.basic_qos(1, BasicQosOptions::default())).await?;
        Ok(Intake { queue, link, channel, consumer: None })
    }

    /// Messages that lie in `queue`, ready to be delivered.
    pub async fn depth(&self, queue: Queue) -> Result<u32, BrokerError> {
        depth(&self.link()?, queue).await
    }
}

impl Intake {
    /// Lets messages come.
    pub async fn open(&mut self) -> Result<(), BrokerError> {
        if self.consumer.is_none() {
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

    /// Stops messages from coming; one that was on its way goes back.
    pub async fn shut(&mut self) -> Result<(), BrokerError> {
        let Some(mut consumer) = self.consumer.take() else { return Ok(()) };
        answered(self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await?;
        while let Ok(Some(Ok(delivery))) = timeout(ANSWER, consumer.next()).await {
            delivery.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?;
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

    /// Closes the channel; what was not acknowledged goes back to the queue.
    pub async fn close(self) {
        let _ = timeout(ANSWER, self.channel.close(200, "done".into())).await;
    }
}

impl Message {
    fn new(delivery: Delivery) -> Self {
        #[derive(Deserialize)]
        struct Body {
            job: JobId,
        }
        let job = serde_json::from_slice::<Body>(&delivery.data).ok().map(|body| body.job);
        Self { job, delivery }
    }

    /// The message has done its duty.
    pub async fn acknowledge(self) -> Result<(), BrokerError> {
        self.delivery.ack(BasicAckOptions::default()).await?;
        Ok(())
    }

    /// Somebody else is to have it.
    pub async fn give_back(self) -> Result<(), BrokerError> {
        self.delivery.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?;
        Ok(())
    }
}

async fn depth(link: &Link, queue: Queue) -> Result<u32, BrokerError> {
    let name = queue.to_string();
    let asked =
        link.probe.queue_declare(name.as_str().into(), QueueDeclareOptions::durable().passive(), FieldTable::default());
    Ok(answered(asked).await?.message_count())
}

async fn answered<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T, BrokerError> {
    match timeout(ANSWER, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(BrokerError::Silent(ANSWER.as_secs())),
    }
}
