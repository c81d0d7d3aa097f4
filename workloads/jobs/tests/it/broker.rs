use std::time::Duration;

use secrecy::SecretString;
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    broker::{Broker, BrokerError, JOBS_EXCHANGE, Message},
    model::Queue,
    testing::{Rabbit, rabbitmq},
};
use tokio::time::timeout;

const QUEUE: Queue = Queue { kind: Kind::Cdn, lane: Lane::High };
const SOON: Duration = Duration::from_secs(30);

async fn broker(uri: &str) -> Broker {
    let broker = Broker::connect(&SecretString::from(uri), "test").unwrap();
    timeout(SOON, broker.connected()).await.expect("the broker is there");
    broker
}

async fn next(intake: &mut switchyard_jobs::broker::Intake) -> Message {
    timeout(SOON, intake.next()).await.expect("a message comes").unwrap()
}

/// Publishes a message to the letter.
async fn publish(uri: &str, body: &str) {
    let connection = lapin::Connection::connect(uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(Default::default()).await.unwrap();
    let key = QUEUE.to_string();
    let confirm = channel
        .basic_publish(
            JOBS_EXCHANGE.into(),
            key.as_str().into(),
            Default::default(),
            body.as_bytes(),
            Default::default(),
        )
        .await
        .unwrap();
    confirm.await.unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

/// How many messages lie there, once `count` do.
async fn lie(broker: &Broker, count: u32) {
    let looking = async {
        while broker.depth(QUEUE).await.unwrap() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, looking).await.unwrap_or_else(|_| panic!("not {count} messages"));
}

#[tokio::test]
async fn tickets_come_out_where_they_belong_in_few_messages() {
    let broker = broker(&rabbitmq().await.vhost()).await;
    let other = Queue { lane: Lane::Low, ..QUEUE };
    let mut ready = vec![QUEUE; 70];
    ready.insert(30, other);
    let published = broker.publish(&ready).await;
    assert_eq!((published.out, published.failed, published.error), (71, vec![], None));
    assert_eq!((broker.depth(QUEUE).await.unwrap(), broker.depth(other).await.unwrap()), (4, 1));
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open(16).await.unwrap();
    let mut tickets = 0;
    while tickets < 70 {
        let message = next(&mut intake).await;
        tickets += message.tickets;
        message.acknowledge().await.unwrap();
    }
    assert_eq!(tickets, 70);
}

#[tokio::test]
async fn messages_that_are_here_are_taken_together_and_settled_together() {
    let broker = broker(&rabbitmq().await.vhost()).await;
    broker.publish(&[QUEUE; 4]).await;
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open(16).await.unwrap();
    let mut message = next(&mut intake).await;
    while message.tickets < 3 {
        intake.gather(&mut message, 3);
        tokio::task::yield_now().await;
    }
    assert_eq!(message.tickets, 3, "no more than enough");
    // Shut before it is settled: the fourth is anyone else's.
    intake.shut().await.unwrap();
    lie(&broker, 1).await;
    message.give_back().await.unwrap();
    lie(&broker, 4).await;
    intake.open(16).await.unwrap();
    let mut message = next(&mut intake).await;
    while message.tickets < 4 {
        intake.gather(&mut message, 4);
        tokio::task::yield_now().await;
    }
    message.acknowledge().await.unwrap();
    intake.close().await;
    lie(&broker, 0).await;
}

#[tokio::test]
async fn an_intake_holds_no_more_messages_than_it_was_opened_for() {
    let broker = broker(&rabbitmq().await.vhost()).await;
    broker.publish(&[QUEUE; 4]).await;
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open(1).await.unwrap();
    let first = next(&mut intake).await;
    lie(&broker, 3).await;
    assert!(
        timeout(Duration::from_millis(300), intake.next()).await.is_err(),
        "the second waits for the first's acknowledgement"
    );
    first.acknowledge().await.unwrap();
    lie(&broker, 2).await;
    // With much more room it is opened anew, wider.
    intake.open(4).await.unwrap();
    lie(&broker, 0).await;
    intake.close().await;
    lie(&broker, 3).await;
}

#[tokio::test]
async fn a_message_that_is_given_back_or_never_acknowledged_comes_again() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    publish(&uri, r#"{"jobs":7}"#).await;
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open(1).await.unwrap();
    next(&mut intake).await.give_back().await.unwrap();
    let again = next(&mut intake).await;
    assert_eq!(again.tickets, 7);
    drop(again);
    intake.close().await;
    let mut other = broker.intake(QUEUE).await.unwrap();
    other.open(1).await.unwrap();
    assert_eq!(next(&mut other).await.tickets, 7);
}

#[tokio::test]
async fn a_ticket_that_no_queue_takes_is_a_failure_although_it_is_confirmed() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    let connection = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .queue_delete(QUEUE.to_string().as_str().into(), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
    let kept = Queue { kind: Kind::Ai, lane: Lane::Low };
    let published = broker.publish(&[QUEUE, kept, QUEUE]).await;
    assert_eq!((published.failed, published.out), (vec![QUEUE; 2], 1));
    assert!(published.error.unwrap().contains("NO_ROUTE"));
}

#[tokio::test]
async fn a_consumer_that_is_told_nothing_although_messages_lie_there_is_given_up() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open(1).await.unwrap();
    broker.publish(&[QUEUE; 2]).await;
    // As long as the first is not settled the broker delivers nothing, as if it had forgotten this consumer.
    let _held = next(&mut intake).await;
    let told = timeout(Duration::from_secs(60), intake.next()).await.expect("it is noticed");
    assert!(matches!(told, Err(BrokerError::Stalled(QUEUE))));
}

#[tokio::test]
async fn a_consumer_that_the_broker_ends_says_so() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open(16).await.unwrap();
    let connection = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete(QUEUE.to_string().as_str().into(), Default::default()).await.unwrap();
    let told = timeout(SOON, intake.next()).await.expect("it is noticed");
    assert!(matches!(told, Err(BrokerError::Away | BrokerError::Refused(_))));
}

#[tokio::test]
async fn a_killed_broker_is_noticed_and_found_again_with_its_messages() {
    let rabbit = Rabbit::own().await;
    let broker = broker(&rabbit.vhost()).await;
    assert_eq!(broker.publish(&[QUEUE]).await.out, 1);
    let mut intake = broker.intake(QUEUE).await.unwrap();
    rabbit.kill();
    intake.open(1).await.expect_err("nobody is there");
    let failed = broker.publish(&[QUEUE]).await;
    assert_eq!((failed.out, failed.failed), (0, vec![QUEUE]));
    rabbit.up().await;
    timeout(Duration::from_secs(60), broker.connected()).await.expect("it connects again");
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open(1).await.unwrap();
    assert_eq!(next(&mut intake).await.tickets, 1, "confirmed is safe");
}

#[test]
fn an_address_that_is_none_says_what_to_write_and_not_what_was_written() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let Err(error) = Broker::connect(&SecretString::from("http://user:hunter2@host"), "test") else {
        panic!("accepted")
    };
    let text = error.to_string();
    assert!(text.contains("amqp://") && !text.contains("hunter2"), "{text}");
}
