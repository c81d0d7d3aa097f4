//! The relay, which publishes missing tickets, and the reaper of expired leases.

use std::time::Duration;

use secrecy::SecretString;
use switchyard_contract::{Kind, Lane, Tier};
use switchyard_jobs::{
    announce::Announcer,
    broker::Broker,
    maintenance,
    model::{JobError, Queue},
    recovery::Recoveries,
    testing::rabbitmq,
};

use crate::fixture::{fixture, transient_error};

const NORMAL: Queue = Queue { kind: Kind::General, lane: Lane::Normal };

#[tokio::test]
async fn claimable_jobs_are_reported_after_the_minimum_age_until_claimed() {
    let g = fixture(Tier::Standard, 10).await;
    let job = g.submit("ada").await;
    g.submit("bob").await;
    assert!(
        g.store.claimable_queues(Duration::from_mins(1)).await.unwrap().is_empty(),
        "the submitter is about to publish a ticket"
    );
    assert_eq!(g.store.claimable_queues(Duration::ZERO).await.unwrap(), [(NORMAL, 2)]);
    let claim = g.claim_analysis(job.id).await;
    assert_eq!(g.store.claimable_queues(Duration::ZERO).await.unwrap(), [(NORMAL, 1)]);
    let later = JobError { retry_after_seconds: Some(600), ..transient_error() };
    g.fail(&claim, &later).await;
    assert_eq!(
        g.store.claimable_queues(Duration::ZERO).await.unwrap(),
        [(NORMAL, 1)],
        "a retry that is not due is not reported"
    );
    g.store.pause(Kind::General, Lane::Normal, true).await.unwrap();
    assert!(g.store.claimable_queues(Duration::ZERO).await.unwrap().is_empty(), "a paused lane has no claimable jobs");
}

#[tokio::test]
async fn ticket_lost_in_a_crash_is_published_once() {
    let g = fixture(Tier::Standard, 10).await;
    let broker = Broker::connect(&SecretString::from(rabbitmq().await.vhost()), "test").unwrap();
    broker.connected().await;
    g.submit("ada").await;
    assert_eq!(maintenance::publish_claimable(&g.store, &broker, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(broker.depth(NORMAL).await.unwrap(), 1);
    assert_eq!(
        maintenance::publish_claimable(&g.store, &broker, Duration::ZERO).await.unwrap(),
        0,
        "the queue already holds a ticket"
    );
}

#[tokio::test]
async fn reaper_ends_attempts_of_silent_workers() {
    let g = fixture(Tier::Standard, 10).await;
    let broker = Broker::connect(&SecretString::from(rabbitmq().await.vhost()), "test").unwrap();
    let announcer = Announcer::start(broker);
    let job = g.submit("ada").await;
    g.claim_analysis(job.id).await;
    assert_eq!(maintenance::reap(&g.store, &announcer, true, &Recoveries::default()).await.unwrap(), 0);
    g.database
        .client()
        .await
        .batch_execute("update switchyard.jobs set lease_until = now() - interval '1 s'")
        .await
        .unwrap();
    assert_eq!(maintenance::reap(&g.store, &announcer, true, &Recoveries::default()).await.unwrap(), 1);
    assert_eq!(g.claim_analysis(job.id).await.job.attempt, 2);
}
