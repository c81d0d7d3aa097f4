//! The store behind a real PgBouncer in transaction mode. Each statement may use another server
//! connection, and few connections serve many clients.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;
use serde_json::json;
use switchyard_contract::{ConnectionPool, Kind, Role, RoleGrant, Tier};
use switchyard_jobs::{
    model::{JobState, Queue},
    store::{Address, Admission, Idempotency, Lease, ProgressReport, ResultOutcome, Store, SubmitRequest},
    testing::{PgBouncer, Postgres, TestDatabase, postgres},
};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::{
    fixture::{immediate_retries, request, tenant},
    setup::{password, set_up_roles},
};

/// Server connections that PgBouncer may open for each user and database.
const SERVER_CONNECTIONS: u32 = 3;

async fn start_pooler(server: &Postgres, database: &TestDatabase, logins: &[(&str, &str)]) -> (PgBouncer, String) {
    let pooler = PgBouncer::before(server, SERVER_CONNECTIONS, logins).await;
    let uri = pooler.uri(database.uri.rsplit_once('/').unwrap().1);
    (pooler, uri)
}

fn store_at(uri: &str, size: u32) -> Store {
    let connections = ConnectionPool { size, overflow: 0, wait_timeout_seconds: 20, statement_timeout_seconds: 20 };
    Store::open(&Address::parse(uri, "uri").unwrap(), "switchyard-test", connections, immediate_retries())
}

async fn connect(uri: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(uri, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn lease() -> Lease<'static> {
    Lease { worker: "test", duration: Duration::from_secs(30), call: Uuid::new_v4(), again: false }
}

#[tokio::test]
async fn job_completes_through_a_transaction_pooler() {
    let server = postgres().await;
    let database = server.database().await;
    let (_pooler, uri) = start_pooler(server, &database, &[]).await;
    // Each process has its own connections, so two calls rarely share one.
    let (api, worker, relay) = (store_at(&uri, 4), store_at(&uri, 4), store_at(&uri, 4));
    let (tenant, key) = tenant(&api, Tier::Standard, 100).await;
    let Admission::Accepted { job, .. } = api.submit(request(key, "someone")).await.unwrap() else {
        panic!("not accepted")
    };
    let queue = Queue { kind: Kind::General, lane: job.lane };
    let claims = worker.claim(queue, 8, &lease()).await.unwrap();
    let [claim] = claims.as_slice() else { panic!("one job was submitted, {} were claimed", claims.len()) };
    assert_eq!(claim.job.id, job.id);
    for percent in [20, 40, 60] {
        assert_eq!(worker.heartbeat(&[claim.run_key()], Duration::from_secs(30)).await.unwrap(), [job.id]);
        let report = ProgressReport { run_key: claim.run_key(), percent, stage: "analysing".to_owned() };
        worker.progress(&[report]).await.unwrap();
        assert_eq!(api.job(tenant, job.id).await.unwrap().unwrap().progress, i16::from(percent));
    }
    assert!(relay.expired(10).await.unwrap().is_empty());
    worker.complete(claim.run_key(), &json!({ "followers": 3 })).await.unwrap().expect("the claim holds");
    let finished = api.result(tenant, job.id).await.unwrap();
    let ResultOutcome::Finished { job, result } = finished else { panic!("{finished:?}") };
    assert_eq!((job.state, result), (JobState::Completed, json!({ "followers": 3 })));
}

#[tokio::test]
async fn concurrent_submissions_through_a_pooler_are_exactly_once() {
    let server = postgres().await;
    let database = server.database().await;
    let (_pooler, uri) = start_pooler(server, &database, &[]).await;
    // Each store stands for one pod.
    let stores: Vec<Store> = (0..8).map(|_| store_at(&uri, 8)).collect();
    let (tenant, key) = tenant(&stores[0], Tier::Enterprise, 10_000).await;
    let submit = |n: usize| {
        // Each request is sent twice, by two processes.
        let (store, username) = (&stores[n % stores.len()], format!("profile{}", n % 32));
        async move {
            let idempotency = Idempotency::of(username.as_str(), username.as_bytes());
            let request = SubmitRequest { idempotency: Some(idempotency.clone()), ..request(key, &username) };
            store.submit(request.clone()).await.unwrap()
        }
    };
    let limit = immediate_retries().tiers.enterprise.concurrent;
    let (mut accepted, mut replayed) = (HashSet::new(), HashSet::new());
    for admission in join_all((0..64).map(submit)).await {
        match admission {
            Admission::Accepted { job, .. } => assert!(accepted.insert(job.id), "accepted twice"),
            Admission::Replayed { job, .. } => assert!(replayed.insert(job.id), "sent twice, replayed twice"),
            Admission::ConcurrentLimit { limit: reported, .. } => assert_eq!(reported, limit),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accepted.len(), limit as usize);
    assert_eq!(accepted, replayed, "each accepted request is replayed once");
    let report = stores[1].tenant(tenant).await.unwrap().unwrap();
    assert_eq!((report.running, report.credits), (limit, report.ledger_sum));
    let sessions = database.client().await;
    let held: i64 = sessions
        .query_one(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert!(held <= i64::from(SERVER_CONNECTIONS), "{held} server connections for {SERVER_CONNECTIONS}");
}

#[tokio::test]
async fn role_limits_hold_behind_a_pooler() {
    let grant = RoleGrant { role: Role::Discovery, connections: 2, statement_timeout_seconds: 1 };
    let (server, database) = set_up_roles("pooler", vec![grant.clone()], &["fsync=off"]).await;
    let admin = database.client().await;
    let (role, password) = (grant.role.as_str(), password(grant.role));
    let (_pooler, uri) = start_pooler(&server, &database, &[(role, &password)]).await;
    let uri = uri.replace("postgres:for-tests", &format!("{role}:{password}"));
    let clients: Vec<Client> = join_all((0..6).map(|_| connect(&uri))).await.into_iter().map(Result::unwrap).collect();

    let long = clients[0].query("select pg_sleep(60)", &[]).await.unwrap_err();
    assert_eq!(long.code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED), "{long}");

    // PgBouncer would open three connections; PostgreSQL allows two. All clients are served in
    // turn.
    let asked =
        join_all(clients.iter().map(|client| client.query_typed("select pg_backend_pid() from pg_sleep(0.1)", &[])))
            .await;
    let pids: HashSet<i32> = asked.into_iter().map(|rows| rows.unwrap()[0].get(0)).collect();
    assert!(pids.len() <= 2, "{pids:?}");
    let held = admin.query_one("select count(*) from pg_stat_activity where usename = $1", &[&role]).await.unwrap();
    assert!(held.get::<_, i64>(0) <= 2);
    server.end();
}
