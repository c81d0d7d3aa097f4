//! Exchanges and queues. Every process declares them alike: RabbitMQ refuses a declaration that
//! differs.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use switchyard_contract::{Kind, Lane};

use crate::model::Queue;

/// Exchange of the tickets; the routing key is the queue's name.
pub const JOBS_EXCHANGE: &str = "switchyard.jobs";
/// Exchange of the events.
pub const EVENTS_EXCHANGE: &str = "switchyard.events";
/// Deliveries of one message before the broker drops it. The relay publishes its tickets again.
///
/// Explicit, because the default differs between RabbitMQ 3 (none) and 4 (20).
pub const DELIVERY_LIMIT: i32 = 100;

/// Every queue: one for each kind and lane.
pub(super) fn queues() -> impl Iterator<Item = Queue> {
    Kind::ALL.iter().flat_map(|kind| Lane::ALL.iter().map(|lane| Queue { kind: *kind, lane: *lane }))
}

/// Declares exchanges, queues and bindings; idempotent.
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
