use std::time::Duration;

use secrecy::SecretString;
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    broker::{Broker, Message},
    model::{JobId, Pointer, Queue},
    testing::{Rabbit, rabbitmq},
};
use tokio::time::timeout;

const QUEUE: Queue = Queue { kind: Kind::Cdn, lane: Lane::High };
const SOON: Duration = Duration::from_secs(30);

fn pointer() -> Pointer {
    Pointer { job: JobId::fresh(), queue: QUEUE }
}

async fn broker(uri: &str) -> Broker {
    let broker = Broker::connect(&SecretString::from(uri), "test").unwrap();
    timeout(SOON, broker.connected()).await.expect("the broker is there");
    broker
}

async fn next(intake: &mut switchyard_jobs::broker::Intake) -> Message {
    timeout(SOON, intake.next()).await.expect("a message comes").unwrap()
}

#[tokio::test]
async fn a_pointer_comes_out_where_it_belongs_one_at_a_time() {
    let broker = broker(&rabbitmq().await.vhost()).await;
    let (one, two) = (pointer(), pointer());
    let published = broker.publish(&[one, two]).await;
    assert_eq!(published.out, [one.job, two.job]);
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open().await.unwrap();
    let first = next(&mut intake).await;
    assert_eq!(first.job, Some(one.job));
    assert!(
        timeout(Duration::from_millis(300), intake.next()).await.is_err(),
        "the second waits for the first's acknowledgement"
    );
    // Shut before acknowledging: the second is anyone else's.
    intake.shut().await.unwrap();
    first.acknowledge().await.unwrap();
    let mut other = broker.intake(QUEUE).await.unwrap();
    other.open().await.unwrap();
    let second = next(&mut other).await;
    assert_eq!(second.job, Some(two.job));
    second.acknowledge().await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_given_back_or_never_acknowledged_comes_again() {
    let broker = broker(&rabbitmq().await.vhost()).await;
    let one = pointer();
    broker.publish(&[one]).await;
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open().await.unwrap();
    next(&mut intake).await.give_back().await.unwrap();
    let again = next(&mut intake).await;
    assert_eq!(again.job, Some(one.job));
    drop(again);
    intake.close().await;
    let mut other = broker.intake(QUEUE).await.unwrap();
    other.open().await.unwrap();
    assert_eq!(next(&mut other).await.job, Some(one.job));
}

#[tokio::test]
async fn a_pointer_that_no_queue_takes_is_a_failure_although_it_is_confirmed() {
    let uri = rabbitmq().await.vhost();
    let broker = broker(&uri).await;
    let connection = lapin::Connection::connect(&uri, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .queue_delete(QUEUE.to_string().as_str().into(), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
    let lost = pointer();
    let kept = Pointer { queue: Queue { kind: Kind::Ai, lane: Lane::Low }, ..pointer() };
    let published = broker.publish(&[lost, kept]).await;
    assert_eq!((published.failed, published.out), (vec![lost.job], vec![kept.job]));
    assert!(published.error.unwrap().contains("NO_ROUTE"));
}

#[tokio::test]
async fn a_killed_broker_is_noticed_and_found_again_with_its_messages() {
    let rabbit = Rabbit::own().await;
    let broker = broker(&rabbit.vhost()).await;
    let one = pointer();
    assert_eq!(broker.publish(&[one]).await.out, [one.job]);
    let mut intake = broker.intake(QUEUE).await.unwrap();
    rabbit.kill();
    intake.open().await.expect_err("nobody is there");
    let failed = broker.publish(&[pointer()]).await;
    assert_eq!((failed.out.len(), failed.failed.len()), (0, 1));
    rabbit.up().await;
    timeout(Duration::from_secs(60), broker.connected()).await.expect("it connects again");
    let mut intake = broker.intake(QUEUE).await.unwrap();
    intake.open().await.unwrap();
    assert_eq!(next(&mut intake).await.job, Some(one.job), "confirmed is safe");
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
