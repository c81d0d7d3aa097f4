//! The queues and exchanges, declared alike by every process: RabbitMQ refuses a declaration that differs.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use switchyard_contract::{Kind, Lane};

use crate::model::Queue;

/// Tickets for claimable jobs go here; the routing key is the queue's name.
pub const JOBS_EXCHANGE: &str = "switchyard.jobs";
/// Events go here, many in a message.
pub const EVENTS_EXCHANGE: &str = "switchyard.events";
/// Deliveries of one message before the broker drops it. Said explicitly, since RabbitMQ 4 has a default and 3 has none. What a dropped
/// message stood for is published again by the relay.
pub const DELIVERY_LIMIT: i32 = 100;

/// Every queue there is.
pub(super) fn queues() -> impl Iterator<Item = Queue> {
    Kind::ALL.iter().flat_map(|kind| Lane::ALL.iter().map(|lane| Queue { kind: *kind, lane: *lane }))
}

pub(super) async fn declare(channel: &Channel) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(JOBS_EXCHANGE.into(), ExchangeKind::Direct, durable, FieldTable::default()).await?;
    channel.exchange_declare(EVENTS_EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    for queue in queues() {
        let name = queue.to_string();
        channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments.clone()).await?;
        channel
            .queue_bind(
                name.as_str().into(),
                JOBS_EXCHANGE.into(),
                name.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    Ok(())
}
