use futures::StreamExt as _;
use lapin::{
    Channel, Consumer,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::{Broker, BrokerError, EVENTS_EXCHANGE, link::Link};
use crate::model::Event;

/// All events of all analyses from now on, for as long as the connection lasts. There may be gaps.
pub struct EventFeed {
    link: Link,
    /// Closing it would end the consumer.
    _channel: Channel,
    consumer: Consumer,
}

impl Broker {
    /// Listens to events, through a queue of this process' own that goes away with it.
    pub async fn subscribe(&self) -> Result<EventFeed, BrokerError> {
        let link = self.link()?;
        let channel = link.connection.create_channel().await?;
        let queue = channel
            .queue_declare("".into(), QueueDeclareOptions::exclusive().auto_delete(), FieldTable::default())
            .await?;
        let name = queue.name().clone();
        channel
            .queue_bind(
                name.clone(),
                EVENTS_EXCHANGE.into(),
                "#".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await?;
        Ok(EventFeed { link, _channel: channel, consumer })
    }
}

impl EventFeed {
    /// The next event; an error means that this feed has ended.
    pub async fn next(&mut self) -> Result<Event, BrokerError> {
        loop {
            let next = tokio::select! {
                next = self.consumer.next() => next,
                () = self.link.lost.cancelled() => None,
            };
            match next {
                None => return Err(BrokerError::Away),
                Some(Err(error)) => return Err(error.into()),
                // What this version cannot read it cannot forward either; watchers find it in the store.
                Some(Ok(delivery)) => {
                    if let Ok(event) = serde_json::from_slice(&delivery.data) {
                        return Ok(event);
                    }
                }
            }
        }
    }
}
