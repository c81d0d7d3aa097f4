use std::time::Duration;

use secrecy::SecretString;
use switchyard_contract::{Kind, Lane, Tier};
use switchyard_jobs::{announce::Announcer, broker::Broker, maintenance, model::Queue, testing::rabbitmq};

use crate::ground::ground;

const AGAIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_unpublished_job_is_due_soon_once_and_again_after_a_while() {
    let g = ground(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    assert!(g.store.due(10, AGAIN).await.unwrap().is_empty(), "the submitter is about to publish it");
    let client = g.database.client().await;
    let hurry =
        "update switchyard.jobs set publish_at = publish_at - interval '10 minutes' where publish_at is not null";
    client.batch_execute(hurry).await.unwrap();
    assert_eq!(g.store.due(10, AGAIN).await.unwrap()[0].job, job.id);
    assert!(g.store.due(10, AGAIN).await.unwrap().is_empty());
    client.batch_execute(hurry).await.unwrap();
    assert_eq!(g.store.due(10, AGAIN).await.unwrap().len(), 1, "the message led to nothing");
    g.take(job.id).await;
    client.batch_execute(hurry).await.unwrap();
    assert!(g.store.due(10, AGAIN).await.unwrap().is_empty(), "it was claimed");
}

#[tokio::test]
async fn jobs_of_a_paused_lane_are_not_due() {
    let g = ground(Tier::Standard, 10).await;
    g.submit("ada").await;
    g.store.pause(Kind::General, Lane::Normal, true).await.unwrap();
    let client = g.database.client().await;
    client.batch_execute("update switchyard.jobs set publish_at = now()").await.unwrap();
    assert!(g.store.due(10, AGAIN).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_crash_left_unpublished_reaches_the_queue() {
    let g = ground(Tier::Standard, 10).await;
    let broker = Broker::connect(&SecretString::from(rabbitmq().await.vhost()), "test").unwrap();
    broker.connected().await;
    g.submit("ada").await;
    g.database.client().await.batch_execute("update switchyard.jobs set publish_at = now()").await.unwrap();
    assert_eq!(maintenance::publish_due(&g.store, &broker, AGAIN).await.unwrap(), 1);
    assert_eq!(broker.depth(Queue { kind: Kind::General, lane: Lane::Normal }).await.unwrap(), 1);
}

#[tokio::test]
async fn the_reaper_ends_attempts_of_silent_workers() {
    let g = ground(Tier::Standard, 10).await;
    let broker = Broker::connect(&SecretString::from(rabbitmq().await.vhost()), "test").unwrap();
    let announcer = Announcer::start(g.store.clone(), broker);
    let job = g.submit("ada").await;
    g.take(job.id).await;
    assert_eq!(maintenance::reap(&g.store, &announcer).await.unwrap(), 0);
    g.database
        .client()
        .await
        .batch_execute("update switchyard.jobs set lease_until = now() - interval '1 s'")
        .await
        .unwrap();
    assert_eq!(maintenance::reap(&g.store, &announcer).await.unwrap(), 1);
    assert_eq!(g.take(job.id).await.job.attempt, 2);
}
