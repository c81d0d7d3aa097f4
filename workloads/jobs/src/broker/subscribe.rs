use std::collections::VecDeque;

use futures::StreamExt as _;
use lapin::{
    Channel, Consumer,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    Broker, BrokerError, EVENTS_EXCHANGE,
    link::{ANSWER, Link},
};
use crate::model::Event;

/// All events of all analyses from now on, for as long as the connection lasts. There may be gaps.
pub struct EventFeed {
    link: Link,
    /// Closing it would end the consumer.
    _channel: Channel,
    consumer: Consumer,
    /// Received and not handed out yet.
    here: VecDeque<Event>,
}

impl Broker {
    /// Listens to events, through a queue of this process' own that goes away with it.
    pub async fn subscribe(&self) -> Result<EventFeed, BrokerError> {
        // A connection that dies under it may never answer.
        match timeout(ANSWER, self.listen()).await {
            Ok(feed) => feed,
            Err(_) => Err(BrokerError::Silent(ANSWER.as_secs())),
        }
    }

    async fn listen(&self) -> Result<EventFeed, BrokerError> {
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
        Ok(EventFeed { link, _channel: channel, consumer, here: VecDeque::new() })
    }
}

impl EventFeed {
    /// The next event; an error means that this feed has ended.
    pub async fn next(&mut self) -> Result<Event, BrokerError> {
        loop {
            if let Some(event) = self.here.pop_front() {
                return Ok(event);
            }
            let next = tokio::select! {
                next = self.consumer.next() => next,
                () = self.link.lost.cancelled() => None,
            };
            match next {
                None => return Err(BrokerError::Away),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(delivery)) => self.here = events(&delivery.data),
            }
        }
    }
}

/// The events of a message: an array, or the single one of older versions. What this version cannot read it cannot forward either; watchers find it in
/// the store.
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
    fn events_are_read_in_arrays_and_alone_as_older_versions_sent_them() {
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
