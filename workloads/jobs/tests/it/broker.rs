//! The broker with a real RabbitMQ: publishing, consuming and failures.

use std::time::Duration;

use lapin::{
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions},
    protocol::basic::AMQPProperties,
};
use secrecy::SecretString;
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    broker::{Broker, BrokerError, Consumer, JOBS_EXCHANGE, Message},
    model::Queue,
    testing::{Rabbit, rabbitmq},
};
use tokio::time::timeout;

const QUEUE: Queue = Queue { kind: Kind::Cdn, lane: Lane::High };
const TIMEOUT: Duration = Duration::from_secs(30);

async fn broker(uri: &str) -> Broker {
    let broker = Broker::connect(&SecretString::from(uri), "test").unwrap();
    timeout(TIMEOUT, broker.connected()).await.expect("the broker accepts the connection");
    broker
}

async fn next(consumer: &mut Consumer) -> Message {
    timeout(TIMEOUT, consumer.next()).await.expect("a message arrives").unwrap()
}

/// Publishes a message with this exact body.
async fn publish(uri: &str, body: &str) {
    let connection = lapin::Connection::connect(uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let key = QUEUE.to_string();
    let confirm = channel
        .basic_publish(
            JOBS_EXCHANGE.into(),
            key.as_str().into(),
            BasicPublishOptions::default(),
            body.as_bytes(),
            AMQPProperties::default(),
        )
        .await
        .unwrap();
    confirm.await.unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

/// Waits until the queue holds `count` messages.
async fn wait_for_depth(broker: &Broker, count: u32) {
    let polling = async {
        while broker.depth(QUEUE).await.unwrap() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, polling).await.unwrap_or_else(|_| panic!("not {count} messages"));
}

#[tokio::test]
async fn tickets_arrive_in_their_queues_in_few_messages() {
    let broker = broker(&rabbitmq().await.vhost()).await;
    let other = Queue { lane: Lane::Low, ..QUEUE };
    let mut ready = vec![QUEUE; 70];
    ready.insert(30, other);
    let published = broker.publish(&ready).await;
    assert_eq!((published.confirmed, published.failed, published.error), (71, vec![], None));
    assert_eq!((broker.depth(QUEUE).await.unwrap(), broker.depth(other).await.unwrap()), (4, 1));
    let mut consumer = broker.consumer(QUEUE).await.unwrap();
    consumer.resume(16).await.unwrap();
    let mut tickets = 0;
    while tickets < 70 {
        let message = next(&mut consumer).await;
        tickets += message.tickets;
        message.acknowledge().await.unwrap();
    }
    assert_eq!(tickets, 70);
}

#[tokio::test]
async fn prefetched_messages_are_merged_and_settled_together() {
    let broker = broker(&rabbitmq().await.vhost()).await;
    broker.publish(&[QUEUE; 4]).await;
    let mut consumer = broker.consumer(QUEUE).await.unwrap();
    consumer.resume(16).await.unwrap();
    let mut message = next(&mut consumer).await;
    while message.tickets < 3 {
        consumer.extend(&mut message, 3);
        tokio::task::yield_now().await;
    }
    assert_eq!(message.tickets, 3, "extending stops at the requested number");
    // Paused before the message is settled: the fourth goes back to the queue.
    consumer.pause().await.unwrap();
    wait_for_depth(&broker, 1).await;
    message.release().await.unwrap();
    wait_for_depth(&broker, 4).await;
    consumer.resume(16).await.unwrap();
    let mut message = next(&mut consumer).await;
    while message.tickets < 4 {
        consumer.extend(&mut message, 4);
        tokio::task::yield_now().await;
    }
    message.acknowledge().await.unwrap();
    consumer.close().await;
    wait_for_depth(&broker, 0).await;
}

#[tokio::test]
async fn consumer_holds_at_most_its_prefetch_count() {
    let broker = broker(&rabbitmq().await.vhost()).await;
    broker.publish(&[QUEUE; 4]).await;
    let mut consumer = broker.consumer(QUEUE).await.unwrap();
    consumer.resume(1).await.unwrap();
    let first = next(&mut consumer).await;
    wait_for_depth(&broker, 3).await;
    assert!(
        timeout(Duration::from_millis(300), consumer.next()).await.is_err(),
        "the second waits for the first's acknowledgement"
    );
    first.acknowledge().await.unwrap();
    wait_for_depth(&broker, 2).await;
    // A much higher prefetch count restarts the consumer.
    consumer.resume(4).await.unwrap();
    wait_for_depth(&broker, 0).await;
    consumer.close().await;
    wait_for_depth(&broker, 3).await;
}

#[tokio::test]
async fn released_or_unacknowledged_message_is_redelivered() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    publish(&uri, r#"{"jobs":7}"#).await;
    let mut consumer = broker.consumer(QUEUE).await.unwrap();
    consumer.resume(1).await.unwrap();
    next(&mut consumer).await.release().await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(again.tickets, 7);
    drop(again);
    consumer.close().await;
    let mut other = broker.consumer(QUEUE).await.unwrap();
    other.resume(1).await.unwrap();
    assert_eq!(next(&mut other).await.tickets, 7);
}

#[tokio::test]
async fn unroutable_ticket_is_reported_as_failed() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    let connection = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete(QUEUE.to_string().as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let kept = Queue { kind: Kind::Ai, lane: Lane::Low };
    let published = broker.publish(&[QUEUE, kept, QUEUE]).await;
    assert_eq!((published.failed, published.confirmed), (vec![QUEUE; 2], 1));
    assert!(published.error.unwrap().contains("NO_ROUTE"));
}

#[tokio::test]
async fn consumer_without_deliveries_from_a_filled_queue_is_stalled() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    let mut consumer = broker.consumer(QUEUE).await.unwrap();
    consumer.resume(1).await.unwrap();
    broker.publish(&[QUEUE; 2]).await;
    // While the first is unsettled the broker delivers nothing, like a broker that lost this
    // consumer.
    let _held = next(&mut consumer).await;
    let outcome = timeout(Duration::from_mins(1), consumer.next()).await.expect("the consumer fails");
    assert!(matches!(outcome, Err(BrokerError::Stalled(QUEUE))));
}

#[tokio::test]
async fn consumer_cancelled_by_the_broker_returns_an_error() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    let mut consumer = broker.consumer(QUEUE).await.unwrap();
    consumer.resume(16).await.unwrap();
    let connection = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete(QUEUE.to_string().as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let outcome = timeout(TIMEOUT, consumer.next()).await.expect("the consumer fails");
    assert!(matches!(outcome, Err(BrokerError::Disconnected | BrokerError::Refused(_))));
}

#[tokio::test]
async fn client_reconnects_to_a_killed_broker_and_finds_its_messages() {
    let rabbit = Rabbit::own().await;
    let broker = broker(&rabbit.vhost()).await;
    assert_eq!(broker.publish(&[QUEUE]).await.confirmed, 1);
    let mut consumer = broker.consumer(QUEUE).await.unwrap();
    rabbit.kill();
    consumer.resume(1).await.expect_err("the broker is down");
    let failed = broker.publish(&[QUEUE]).await;
    assert_eq!((failed.confirmed, failed.failed), (0, vec![QUEUE]));
    rabbit.up().await;
    timeout(Duration::from_mins(1), broker.connected()).await.expect("the client reconnects");
    let mut consumer = broker.consumer(QUEUE).await.unwrap();
    consumer.resume(1).await.unwrap();
    assert_eq!(next(&mut consumer).await.tickets, 1, "the confirmed message survived");
}

#[test]
fn invalid_broker_address_is_refused_without_its_password() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let Err(error) = Broker::connect(&SecretString::from("http://user:hunter2@host"), "test") else {
        panic!("accepted")
    };
    let text = error.to_string();
    assert!(text.contains("amqp://") && !text.contains("hunter2"), "{text}");
}
