//! The subscription to all jobs' events.

use std::collections::VecDeque;

use futures::StreamExt as _;
use lapin::{
    Channel,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    connection::{Broker, Connection, RESPONSE_TIMEOUT},
    error::BrokerError,
    topology::EVENTS_EXCHANGE,
};
use crate::model::Event;

/// All events of all analyses from now on, until the connection ends. There may be gaps.
pub struct EventFeed {
    connection: Connection,
    /// Closing it would cancel the consumer.
    _channel: Channel,
    consumer: lapin::Consumer,
    /// Received and not returned yet.
    buffered: VecDeque<Event>,
}

impl Broker {
    /// Subscribes to events, through an exclusive queue that the broker deletes with the
    /// connection.
    ///
    /// # Errors
    /// [`BrokerError`] if the broker is disconnected or does not answer within 5 s.
    pub async fn subscribe(&self) -> Result<EventFeed, BrokerError> {
        // lapin may never resolve a call on a connection that dies meanwhile.
        match timeout(RESPONSE_TIMEOUT, self.open_feed()).await {
            Ok(feed) => feed,
            Err(_) => Err(BrokerError::Timeout(RESPONSE_TIMEOUT.as_secs())),
        }
    }

    async fn open_feed(&self) -> Result<EventFeed, BrokerError> {
        let connection = self.current()?;
        let channel = connection.amqp.create_channel().await?;
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
        Ok(EventFeed { connection, _channel: channel, consumer, buffered: VecDeque::new() })
    }
}

impl EventFeed {
    /// Waits for the next event.
    ///
    /// # Errors
    /// Why this feed has ended; subscribe again.
    pub async fn next(&mut self) -> Result<Event, BrokerError> {
        loop {
            if let Some(event) = self.buffered.pop_front() {
                return Ok(event);
            }
            let next = tokio::select! {
                next = self.consumer.next() => next,
                () = self.connection.lost.cancelled() => None,
            };
            match next {
                None => return Err(BrokerError::Disconnected),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(delivery)) => self.buffered = events(&delivery.data),
            }
        }
    }
}

/// The events of a message: an array, or one event. A body that cannot be parsed is dropped;
/// watchers read its events from the store.
fn events(body: &[u8]) -> VecDeque<Event> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Body {
        Many(VecDeque<Event>),
        One(Event),
    }
    match serde_json::from_slice(body) {
        Ok(Body::Many(events)) => events,
        Ok(Body::One(event)) => VecDeque::from([event]),
        Err(_) => VecDeque::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::JobId;

    #[test]
    fn events_are_read_from_arrays_and_single_objects() {
        let event = Event {
            seq: 3,
            job: JobId::fresh(),
            state: "running".to_owned(),
            progress: 40,
            stage: "images".to_owned(),
            at: chrono::Utc::now(),
        };
        assert_eq!(events(json!([event, event]).to_string().as_bytes()), [event.clone(), event.clone()]);
        assert_eq!(events(json!(event).to_string().as_bytes()), [event]);
        assert!(events(b"nonsense").is_empty());
    }
}
