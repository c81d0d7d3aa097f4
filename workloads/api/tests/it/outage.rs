//! What is answered while the database or the cache is away.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use switchyard_contract::files;
use switchyard_jobs::{
    store::migrate,
    testing::{Postgres, Proxy, Redis},
};

use crate::fixture::{Client, World, mounted, put_secret, result_of};

/// An API over a database of its own, with a tenant.
async fn over_a_database_of_its_own() -> (Postgres, World, Client) {
    let postgres = Postgres::own(&["fsync=off"]).await;
    let database = postgres.bare_database().await;
    migrate(&mut database.client().await).await.unwrap();
    let world = World::over(mounted(&database.uri).await, |_| {}, &[]).await;
    let tenant = world.tenant("standard", 10).await;
    assert_eq!(world.operations("/readyz").await.0, 200);
    (postgres, world, tenant)
}

#[tokio::test]
async fn cached_results_are_answered_to_known_keys_while_the_database_is_away() {
    let (postgres, world, tenant) = over_a_database_of_its_own().await;
    let name = world.name("kept");
    let result = world.cache(&name).await;
    let ask = json!({"username": name});
    tenant.post("/v1/analyses", ask.clone()).await.expect(200);

    postgres.kill();
    let answer = tenant.post("/v1/analyses", ask.clone()).await;
    assert_eq!(answer.expect(200)["result"], result);
    assert_eq!(answer.header("x-cache"), "hit");
    assert_eq!(world.operations("/readyz").await.0, 200, "nobody is left to answer from the cache");
    let profile = tenant.get(&format!("/v1/profiles/{name}")).await;
    assert_eq!(profile.expect(200)["result"], result_of(&name));
    assert_eq!(profile.header("x-cache"), "hit");

    let unavailable = [
        world.with_key("sk_stranger").post("/v1/analyses", ask.clone()).await,
        tenant.post_with("/v1/analyses", ask.clone(), &[("idempotency-key", "k-1")]).await,
        tenant.post("/v1/analyses", json!({"username": name, "force_refresh": true})).await,
        tenant.post("/v1/analyses", json!({"username": "not-kept"})).await,
        tenant.get("/v1/profiles/not-kept").await,
        tenant.get("/v1/usage").await,
        tenant.get("/v1/jobs").await,
    ];
    for answer in unavailable {
        answer.refusal(503, "unavailable");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    }
    // After three failures in a row the database is left alone for half a minute.
    let answer = tenant.get("/v1/usage").await;
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((5..=30).contains(&wait), "{wait}");

    postgres.up().await;
    let back = async {
        while tenant.get("/v1/usage").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.expect("the API does not find the database again");
    tenant.post_with("/v1/analyses", ask, &[("idempotency-key", "k-1")]).await.expect(200);
    postgres.end();
}

#[tokio::test]
async fn a_revoked_key_gets_nothing_from_any_process_even_while_the_database_is_away() {
    let (postgres, world, tenant) = over_a_database_of_its_own().await;
    let twin = world.twin().await;
    let name = world.name("kept");
    world.cache(&name).await;
    let ask = json!({"username": name});
    let at_twin = twin.with_key(&tenant.key);
    tenant.post("/v1/analyses", ask.clone()).await.expect(200);
    at_twin.post("/v1/analyses", ask.clone()).await.expect(200);

    let key = world.only_key_of(&tenant).await;
    let path = format!("/admin/v1/tenants/{}/keys/{key}", tenant.id);
    world.admin().raw(Method::DELETE, &path, "", "").await.expect(204);
    postgres.kill();
    at_twin.post("/v1/analyses", ask.clone()).await.refusal(503, "unavailable");
    tenant.post("/v1/analyses", ask.clone()).await.refusal(503, "unavailable");
    postgres.up().await;
    let told = async {
        while at_twin.post("/v1/analyses", ask.clone()).await.status != 401 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("the key still opens something");
    postgres.end();
}

#[tokio::test]
async fn without_the_cache_requests_are_admitted_and_revocations_ask_to_be_repeated() {
    let redis = Redis::own().await;
    let database = switchyard_jobs::testing::postgres().await.database().await;
    let mount = mounted(&database.uri).await;
    put_secret(mount.path(), files::CACHE_URI, &redis.database());
    let world = World::over(mount, |_| {}, &[]).await;
    let tenant = world.tenant("standard", 10).await;
    let name = world.name("kept");
    world.cache(&name).await;
    tenant.post("/v1/analyses", json!({"username": name})).await.expect(200);

    redis.kill();
    tenant.submit(&name).await;
    tenant.get("/v1/usage").await.expect(200);
    let key = world.only_key_of(&tenant).await;
    let path = format!("/admin/v1/tenants/{}/keys/{key}", tenant.id);
    world.admin().raw(Method::DELETE, &path, "", "").await.refusal(503, "unavailable");
    tenant.get("/v1/usage").await.refusal(401, "unauthenticated");

    redis.up().await;
    let told = async {
        while world.admin().raw(Method::DELETE, &path, "", "").await.status != 204 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("the cache is not found again");
    redis.end();
}

#[tokio::test]
async fn a_replica_answers_what_it_has_while_the_database_is_away_and_says_so() {
    let primary = Postgres::own(&["fsync=off"]).await;
    let database = primary.bare_database().await;
    migrate(&mut database.client().await).await.unwrap();
    let replica = primary.replica().await;
    let mount = mounted(&database.uri).await;
    let name = database.uri.rsplit('/').next().unwrap();
    put_secret(mount.path(), files::DATABASE_REPLICA_URIS, &replica.uri(name));
    let world = World::over(mount, |_| {}, &[]).await;
    let tenant = world.tenant("standard", 10).await;
    let id = tenant.submit("seen").await;
    let fresh = tenant.get(&format!("/v1/jobs/{id}")).await;
    fresh.expect(200);
    assert_eq!(fresh.header("x-stale"), "");
    primary.shown_by(&replica).await;

    primary.kill();
    let stale = tenant.get(&format!("/v1/jobs/{id}")).await;
    assert_eq!(stale.expect(200)["state"], "queued");
    assert_eq!(stale.header("x-stale"), "replica");
    tenant.get("/v1/usage").await.expect(200);
    // What it does not have, it may only not have yet.
    tenant.get(&format!("/v1/jobs/{}", tenant.id)).await.refusal(503, "unavailable");
    world.with_key("sk_stranger").get("/v1/usage").await.refusal(503, "unavailable");
    tenant.post("/v1/analyses", json!({"username": "new"})).await.refusal(503, "unavailable");
    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.refusal(503, "unavailable");
    replica.end();
    primary.end();
}

/// An API before a database that can fall silent, with a tenant that has been seen.
async fn over_a_database_that_can_fall_silent(options: &[&str]) -> (Proxy, World, Client) {
    let server = switchyard_jobs::testing::postgres().await;
    let proxy = Proxy::to(server.port()).await;
    let uri = server.database().await.uri.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let world = World::over(mounted(&uri).await, |_| {}, options).await;
    let tenant = world.tenant("standard", 10).await;
    tenant.get("/v1/usage").await.expect(200);
    (proxy, world, tenant)
}

#[tokio::test]
async fn a_request_ends_with_the_time_that_its_caller_gave_it() {
    let (proxy, _world, tenant) = over_a_database_that_can_fall_silent(&[]).await;
    proxy.silence();
    let began = Instant::now();
    for path in ["/v1/usage", "/v1/jobs"] {
        let answer = tenant.get_with(path, &[("request-timeout", "0.5")]).await;
        answer.refusal(503, "unavailable");
    }
    let body = json!({"username": "late"});
    tenant.post_with("/v1/analyses", body, &[("request-timeout", "0.5")]).await.refusal(503, "unavailable");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn more_requests_than_there_are_places_are_asked_to_come_back() {
    let (proxy, world, tenant) = over_a_database_that_can_fall_silent(&["--in-flight=1"]).await;
    proxy.silence();
    let (held, ()) = tokio::join!(tenant.get_with("/v1/usage", &[("request-timeout", "8")]), async {
        while !world.operations("/metrics").await.1.contains("switchyard_api_in_flight 1") {
            tokio::task::yield_now().await;
        }
        let refused = tenant.get("/v1/jobs").await;
        let problem = refused.refusal(503, "unavailable");
        assert!(problem["detail"].as_str().unwrap().contains("too much to do"), "{problem}");
        assert_eq!(refused.header("retry-after"), "1");
    });
    held.refusal(503, "unavailable");
    proxy.speak();
    let (_, metrics) = world.operations("/metrics").await;
    assert!(metrics.contains("switchyard_api_in_flight 0"), "{metrics}");
}
