//! A process' database connections: pool size, time limits and unresponsive servers.

use std::time::Duration;

use futures::future::join_all;
use switchyard_contract::ConnectionPool;
use switchyard_jobs::{
    model::TenantId,
    resilience::{breaker::State, deadline},
    store::{Address, Store, StoreError},
    testing::{Postgres, Proxy, TestDatabase, postgres},
};
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::fixture::immediate_retries;

const TIMEOUT: Duration = Duration::from_secs(20);

fn store_at(uri: &str, size: u32, overflow: u32) -> Store {
    let connections = ConnectionPool { size, overflow, wait_timeout_seconds: 20, statement_timeout_seconds: 20 };
    Store::open(&Address::parse(uri, "uri").unwrap(), "switchyard-test", connections, immediate_retries())
}

/// A database on which reading a tenant blocks until the client releases its lock.
async fn blocked_database(server: &Postgres) -> (TestDatabase, Client) {
    let database = server.bare_database().await;
    let blocker = database.client().await;
    blocker
        .batch_execute(
            "create schema switchyard;
             create function switchyard.tenant_report(uuid) returns jsonb language sql
                 as 'select null::jsonb from (select pg_advisory_xact_lock_shared(1)) as waited';
             select pg_advisory_lock(1)",
        )
        .await
        .unwrap();
    (database, blocker)
}

/// Waits until `count` statements wait for the lock.
async fn wait_for_blocked(blocker: &Client, count: i64) {
    let wait = async {
        loop {
            let found = blocker
                .query_one("select count(*) from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())", &[])
                .await
                .unwrap();
            if found.get::<_, i64>(0) == count {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, wait).await.unwrap_or_else(|_| panic!("the number of waiting statements never becomes {count}"));
}

async fn read_tenant(store: Store) -> Result<(), StoreError> {
    store.tenant(TenantId(Uuid::nil())).await.map(drop)
}

/// The time that `call` takes by tokio's clock. It is paused meanwhile: when every task waits, it
/// jumps to the next timeout.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    tokio::time::pause();
    let began = Instant::now();
    let result = call.await;
    let took = began.elapsed();
    tokio::time::resume();
    (result, took)
}

/// Checks that `took` is `expected`. Timers round up to the next millisecond.
fn assert_took(took: Duration, expected: Duration) {
    assert!(took >= expected && took < expected + Duration::from_millis(10), "{took:?}, not {expected:?}");
}

#[tokio::test]
async fn overflow_connections_open_when_busy_and_close_when_idle() {
    let (database, blocker) = blocked_database(postgres().await).await;
    let store = store_at(&database.uri, 1, 2);
    let calls: Vec<_> = (0..5).map(|_| tokio::spawn(read_tenant(store.clone()))).collect();
    wait_for_blocked(&blocker, 3).await;
    assert_eq!(store.pool_status().size, 3, "one permanent and two overflow connections");
    blocker.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    for call in join_all(calls).await {
        call.unwrap().unwrap();
    }
    let trimmed = async {
        while store.pool_status().size > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TIMEOUT, trimmed).await.expect("the overflow connections are not closed");
    store.ping().await.unwrap();
    assert_eq!(store.pool_status().size, 1, "the permanent connection stays");
}

#[tokio::test]
async fn wait_for_a_connection_ends_with_an_unsent_error() {
    let (database, blocker) = blocked_database(postgres().await).await;
    let connections = ConnectionPool { size: 1, overflow: 0, wait_timeout_seconds: 1, statement_timeout_seconds: 20 };
    let store = Store::open(
        &Address::parse(&database.uri, "uri").unwrap(),
        "switchyard-test",
        connections,
        immediate_retries(),
    );
    let busy = tokio::spawn(read_tenant(store.clone()));
    wait_for_blocked(&blocker, 1).await;
    let (refused, took) = timed(store.ping()).await;
    let refused = refused.unwrap_err();
    assert!(refused.is_unsent(), "{refused}");
    assert_took(took, Duration::from_secs(1));
    blocker.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    busy.await.unwrap().unwrap();
}

#[tokio::test]
async fn statement_is_cancelled_at_the_deadline() {
    let (database, blocker) = blocked_database(postgres().await).await;
    let store = store_at(&database.uri, 1, 0);
    store.ping().await.unwrap();
    let within = Duration::from_secs(10);
    let call = tokio::spawn(deadline::scope(Instant::now() + within, read_tenant(store.clone())));
    wait_for_blocked(&blocker, 1).await;
    let (late, took) = timed(call).await;
    assert!(matches!(late, Ok(Err(StoreError::Interrupted(_)))), "{late:?}");
    assert!(took <= within && took > Duration::from_secs(2), "{took:?}");
    // The server's statement timeout is 20 s.
    timeout(Duration::from_secs(5), wait_for_blocked(&blocker, 0)).await.expect("the statement still runs");
    store.ping().await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_past_the_deadline() {
    let store = store_at(&postgres().await.bare_database().await.uri, 1, 0);
    let late = deadline::scope(Instant::now(), store.now()).await;
    assert!(matches!(&late, Err(StoreError::Unavailable(why)) if why.contains("deadline")), "{late:?}");
    assert_eq!(store.pool_status().size, 0);
}

#[tokio::test]
async fn waiting_and_connecting_share_one_deadline() {
    let server = postgres().await;
    let proxy = Proxy::to(server.port()).await;
    let database = server.bare_database().await;
    proxy.silence();
    // The first connection is never established; the second caller waits for it, then connects
    // itself.
    let store = store_at(&database.uri.replace(&server.port().to_string(), &proxy.port().to_string()), 1, 0);
    let (first_limit, second_limit) = (Duration::from_millis(400), Duration::from_millis(700));
    let calls = async {
        let within = |time| deadline::scope(Instant::now() + time, store.now());
        tokio::join!(within(first_limit), within(second_limit))
    };
    let ((first, second), took) = timed(Box::pin(calls)).await;
    assert!(first.is_err() && second.is_err(), "{first:?} {second:?}");
    assert_took(took, second_limit);
}

#[tokio::test]
async fn silent_pooler_costs_the_deadline_and_one_connection() {
    let server = postgres().await;
    let proxy = Proxy::to(server.port()).await;
    let database = server.bare_database().await;
    let store = store_at(&database.uri.replace(&server.port().to_string(), &proxy.port().to_string()), 1, 0);
    store.now().await.unwrap();
    proxy.holding(1).await;
    proxy.silence();
    let within = Duration::from_millis(200);
    let (silent, took) = timed(async { deadline::scope(Instant::now() + within, store.now()).await }).await;
    assert!(matches!(silent, Err(StoreError::Interrupted(_))), "{silent:?}");
    assert_took(took, within);
    timeout(TIMEOUT, proxy.holding(0)).await.expect("the silent connection is kept");
    proxy.speak();
    store.now().await.expect("the store opens a new connection");
}

#[tokio::test]
async fn silence_opens_the_breaker_but_a_short_deadline_does_not() {
    let server = postgres().await;
    let proxy = Proxy::to(server.port()).await;
    let database = server.bare_database().await;
    let store = store_at(&database.uri.replace(&server.port().to_string(), &proxy.port().to_string()), 4, 0);
    for answer in join_all((0..4).map(|_| store.ping())).await {
        answer.unwrap();
    }
    proxy.silence();
    let within = |time| {
        let store = &store;
        join_all((0..4).map(move |_| deadline::scope(Instant::now() + time, store.now())))
    };
    assert!(within(Duration::from_millis(50)).await.iter().all(Result::is_err));
    assert_eq!(store.breaker().state(), State::Closed, "50 ms are too short to judge");
    timeout(TIMEOUT, proxy.holding(0)).await.expect("the silent connections are kept");
    assert!(within(Duration::from_millis(2500)).await.iter().all(Result::is_err));
    assert_eq!(store.breaker().state(), State::Open);
}
