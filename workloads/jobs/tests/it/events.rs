//! Event streams of analyses, with and without a broker.

use std::{pin::pin, time::Duration};

use futures::StreamExt as _;
use secrecy::SecretString;
use serde_json::json;
use switchyard_contract::Tier;
use switchyard_jobs::{announce::Announcer, broker::Broker, events::Hub, store::ProgressReport, testing::rabbitmq};
use tokio::time::timeout;

use crate::fixture::fixture;

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn watcher_sees_every_event_once_and_in_order() {
    let g = fixture(Tier::Standard, 10).await;
    let broker = Broker::connect(&SecretString::from(rabbitmq().await.vhost()), "test").unwrap();
    broker.connected().await;
    let hub = Hub::start(g.store.clone(), broker.clone());
    let announcer = Announcer::start(broker);
    let job = g.submit("ada").await;
    let watch = tokio::spawn(timeout(TIMEOUT, hub.watch(Some(g.tenant), job.id, 0).collect::<Vec<_>>()));

    let claim = g.claim_analysis(job.id).await;
    announcer.announce(claim.effects.clone());
    for percent in [10, 20, 30] {
        let report = ProgressReport { run_key: claim.run_key(), percent, stage: "working".to_owned() };
        let effects = g.store.progress(&[report]).await.unwrap();
        // One event is lost, the others are delivered twice.
        if percent != 20 {
            announcer.announce(effects.clone());
            announcer.announce(effects);
        }
    }
    announcer.announce(g.store.complete(claim.run_key(), &json!({})).await.unwrap().expect("held"));

    let events = watch.await.unwrap().expect("the watch ends after the last event");
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(events.last().unwrap().state, "completed");

    let rest: Vec<i64> = timeout(TIMEOUT, hub.watch(Some(g.tenant), job.id, 4).map(|e| e.seq).collect()).await.unwrap();
    assert_eq!(rest, [5, 6], "a watcher that resumes gets the events after its position");
    assert_eq!(
        timeout(TIMEOUT, hub.watch(Some(g.tenant), job.id, 6).count()).await,
        Ok(0),
        "a watcher that has seen all events gets none"
    );
    let (other_tenant, _) = crate::fixture::tenant(&g.store, Tier::Free, 0).await;
    assert_eq!(timeout(TIMEOUT, hub.watch(Some(other_tenant), job.id, 0).count()).await, Ok(0));
}

#[tokio::test]
async fn watcher_sees_every_event_without_a_broker() {
    let g = fixture(Tier::Standard, 10).await;
    let unavailable = Broker::connect(&SecretString::from("amqp://127.0.0.1:1"), "test").unwrap();
    let hub = Hub::start(g.store.clone(), unavailable);
    let job = g.submit("ada").await;
    let mut watch = pin!(hub.watch(None, job.id, 0));
    assert_eq!(timeout(TIMEOUT, watch.next()).await.unwrap().unwrap().seq, 1);
    g.store.cancel(g.tenant, job.id).await.unwrap();
    let last = timeout(TIMEOUT, watch.next()).await.unwrap().unwrap();
    assert_eq!((last.seq, last.state.as_str()), (2, "cancelled"));
    assert!(timeout(TIMEOUT, watch.next()).await.unwrap().is_none());
}
