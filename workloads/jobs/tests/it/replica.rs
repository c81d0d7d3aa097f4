//! Reads from a real hot standby, with the primary available and unavailable.

use std::time::Duration;

use secrecy::ExposeSecret;
use switchyard_contract::{ConnectionPool, Tier};
use switchyard_jobs::{
    model::{Job, TenantId},
    resilience::{breaker::State, deadline},
    store::{Address, Admission, JobFilter, KeyHash, NewTenant, Store, StoreError, failover, migrate},
    testing::{Postgres, Proxy},
};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::fixture::{immediate_retries, request};

/// A primary and a replica that a store reads from.
struct Pair {
    primary: Postgres,
    replica: Postgres,
    database: String,
    store: Store,
    tenant: TenantId,
    key: KeyHash,
}

impl Pair {
    async fn new() -> Self {
        let primary = Postgres::own(&["fsync=off"]).await;
        let database = primary.bare_database().await;
        migrate(&mut database.client().await).await.unwrap();
        let replica = primary.replica().await;
        let database = database.uri.rsplit_once('/').unwrap().1.to_owned();
        let store = store_at(&primary.uri(&database), &[replica.uri(&database)]);
        let tenant =
            store.create_tenant(&NewTenant { name: "tester", tier: Tier::Premium, credits: 100 }).await.unwrap().id;
        let key = KeyHash::of(store.create_key(tenant).await.unwrap().unwrap().secret.expose_secret());
        Self { primary, replica, database, store, tenant, key }
    }

    async fn submit(&self, username: &str) -> Job {
        match self.store.submit(request(self.key, username)).await.unwrap() {
            Admission::Accepted { job, .. } => job,
            other => panic!("not accepted: {other:?}"),
        }
    }

    async fn on_replica(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.replica.uri(&self.database), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Number of jobs that an admin sees. The read may be stale.
    async fn seen_by_admin(&self) -> usize {
        let filter = JobFilter { limit: 10, ..JobFilter::default() };
        self.store.all_jobs(&filter).await.unwrap().jobs.len()
    }

    /// Number of jobs on the tenant's first page. The read is fresh.
    async fn seen_by_tenant(&self) -> Result<usize, StoreError> {
        let filter = JobFilter { limit: 10, ..JobFilter::default() };
        self.store.jobs(self.tenant, &filter).await.map(|page| page.jobs.len())
    }

    fn end(self) {
        self.replica.end();
        self.primary.end();
    }
}

fn store_at(primary: &str, replicas: &[String]) -> Store {
    let connections = ConnectionPool { size: 4, overflow: 0, wait_timeout_seconds: 5, statement_timeout_seconds: 10 };
    let replicas: Vec<Address> = replicas.iter().map(|uri| Address::parse(uri, "replica-uris").unwrap()).collect();
    let primary = Address::parse(primary, "uri").unwrap();
    Store::open(&primary, "switchyard-test", connections, immediate_retries()).with_replicas(
        &replicas,
        "switchyard-test",
        connections,
    )
}

#[tokio::test]
async fn relaxed_reads_use_the_replica_and_fresh_reads_do_not() {
    let pair = Pair::new().await;
    pair.submit("first").await;
    pair.primary.shown_by(&pair.replica).await;
    assert_eq!(pair.seen_by_admin().await, 1);
    // The replica stops replaying.
    let replica = pair.on_replica().await;
    replica.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    let second = pair.submit("second").await;
    assert_eq!(pair.seen_by_admin().await, 1, "the replica lags");
    let (own, from_replica) = failover::track_stale_reads(pair.store.job(pair.tenant, second.id)).await;
    assert_eq!(own.unwrap().map(|job| job.id), Some(second.id), "a read after a write sees it");
    assert_eq!(pair.seen_by_tenant().await.unwrap(), 2);
    assert!(!from_replica, "the primary answered");
    replica.batch_execute("select pg_wal_replay_resume()").await.unwrap();
    pair.end();
}

#[tokio::test]
async fn unavailable_replica_is_skipped_and_used_again_later() {
    let pair = Pair::new().await;
    pair.submit("someone").await;
    pair.primary.shown_by(&pair.replica).await;
    assert_eq!(pair.seen_by_admin().await, 1);
    pair.replica.kill();
    assert_eq!(pair.seen_by_admin().await, 1, "the primary answers");
    let breaker = || pair.store.replica_breakers().next().unwrap();
    assert_eq!(breaker().state(), State::Open, "its breaker is open");
    assert_eq!(pair.seen_by_admin().await, 1);
    assert_eq!(pair.store.breaker().state(), State::Closed);

    pair.replica.up().await;
    breaker().record_success();
    let replica = pair.on_replica().await;
    replica.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    pair.submit("another").await;
    assert_eq!(pair.seen_by_admin().await, 1, "the replica is used again");
    replica.batch_execute("select pg_wal_replay_resume()").await.unwrap();
    pair.end();
}

#[tokio::test]
async fn replica_answers_reads_while_the_primary_is_unavailable() {
    let pair = Pair::new().await;
    let job = pair.submit("someone").await;
    pair.primary.shown_by(&pair.replica).await;
    pair.primary.kill();
    for _ in 0..5 {
        let (read, from_replica) = failover::track_stale_reads(pair.store.job(pair.tenant, job.id)).await;
        assert_eq!(read.unwrap().map(|job| job.id), Some(job.id));
        assert!(from_replica, "the answer may be stale");
    }
    assert_eq!(pair.store.breaker().state(), State::Open, "the breaker of the primary is open");
    assert_eq!(pair.seen_by_tenant().await.unwrap(), 1);
    let written = pair.store.submit(request(pair.key, "another")).await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");

    pair.primary.up().await;
    pair.store.ping().await.unwrap();
    let (read, from_replica) = failover::track_stale_reads(pair.store.job(pair.tenant, job.id)).await;
    assert_eq!(read.unwrap().map(|job| job.id), Some(job.id));
    assert!(!from_replica, "the primary is back");
    pair.submit("another").await;
    pair.end();
}

#[tokio::test]
async fn silent_primary_leaves_time_to_read_from_the_replica() {
    let pair = Pair::new().await;
    let job = pair.submit("someone").await;
    pair.primary.shown_by(&pair.replica).await;
    let proxy = Proxy::to(pair.primary.port()).await;
    let through = pair.primary.uri(&pair.database).replace(&pair.primary.port().to_string(), &proxy.port().to_string());
    let store = store_at(&through, &[pair.replica.uri(&pair.database)]);
    store.ping().await.unwrap();
    proxy.silence();
    let deadline = Instant::now() + Duration::from_secs(2);
    let read = failover::track_stale_reads(deadline::scope(deadline, store.job(pair.tenant, job.id)));
    let (read, from_replica) = Box::pin(read).await;
    assert_eq!(read.unwrap().map(|job| job.id), Some(job.id));
    assert!(from_replica && Instant::now() < deadline);
    pair.end();
}

#[tokio::test]
async fn read_fails_fast_when_all_servers_are_unavailable() {
    let pair = Pair::new().await;
    pair.seen_by_tenant().await.unwrap();
    pair.replica.kill();
    pair.primary.kill();
    let began = Instant::now();
    let error = pair.seen_by_tenant().await.unwrap_err();
    assert!(error.is_transient() && began.elapsed() < Duration::from_secs(2), "{error} after {:?}", began.elapsed());
    pair.primary.up().await;
    pair.replica.up().await;
    pair.end();
}

#[tokio::test]
async fn standby_is_unwritable_until_promoted() {
    let pair = Pair::new().await;
    pair.submit("before").await;
    pair.primary.shown_by(&pair.replica).await;
    // The store's address leads to the standby.
    let store = store_at(&pair.replica.uri(&pair.database), &[]);
    assert!(store.is_writable());
    let refused = store.submit(request(pair.key, "too-early")).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unwritable(words) if words.contains("25006")), "{refused}");
    assert!(refused.is_unsent() && !store.is_writable());
    // Reads still work, and the breaker stays closed.
    assert_eq!(store.all_jobs(&JobFilter { limit: 10, ..JobFilter::default() }).await.unwrap().jobs.len(), 1);
    assert_eq!(store.breaker().state(), State::Closed);

    pair.on_replica().await.execute("select pg_promote()", &[]).await.unwrap();
    let taken = store.submit(request(pair.key, "in-time")).await.unwrap();
    assert!(matches!(taken, Admission::Accepted { .. }), "{taken:?}");
    pair.end();
}
