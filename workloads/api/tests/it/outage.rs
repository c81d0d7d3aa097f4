//! Responses while the database or the cache is unavailable.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use switchyard_contract::files;
use switchyard_jobs::{
    store::migrate,
    testing::{Postgres, Proxy, Redis},
};

use crate::fixture::{Client, TestApi, mounted, put_secret, result_of};

/// An API with a database server of its own, and a tenant.
async fn with_own_database() -> (Postgres, TestApi, Client) {
    let postgres = Postgres::own(&["fsync=off"]).await;
    let database = postgres.bare_database().await;
    migrate(&mut database.client().await).await.unwrap();
    let api = TestApi::over(mounted(&database.uri).await, |_| {}, &[]).await;
    let tenant = api.tenant("standard", 10).await;
    assert_eq!(api.operations("/readyz").await.0, 200);
    (postgres, api, tenant)
}

#[tokio::test]
async fn cached_results_are_served_to_known_keys_during_a_database_outage() {
    let (postgres, api, tenant) = with_own_database().await;
    let name = api.name("kept");
    let result = api.cache(&name).await;
    let ask = json!({"username": name});
    tenant.post("/v1/analyses", ask.clone()).await.expect(200);

    postgres.kill();
    let answer = tenant.post("/v1/analyses", ask.clone()).await;
    assert_eq!(answer.expect(200)["result"], result);
    assert_eq!(answer.header("x-cache"), "hit");
    assert_eq!(api.operations("/readyz").await.0, 200, "no process serves the cache");
    let profile = tenant.get(&format!("/v1/profiles/{name}")).await;
    assert_eq!(profile.expect(200)["result"], result_of(&name));
    assert_eq!(profile.header("x-cache"), "hit");

    let unavailable = [
        api.with_key("sk_unknown").post("/v1/analyses", ask.clone()).await,
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
    // Three failures in a row open the circuit breaker for 30 s.
    let answer = tenant.get("/v1/usage").await;
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((5..=30).contains(&wait), "{wait}");

    postgres.up().await;
    let back = async {
        while tenant.get("/v1/usage").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), back).await.expect("the API does not use the database again");
    tenant.post_with("/v1/analyses", ask, &[("idempotency-key", "k-1")]).await.expect(200);
    postgres.end();
}

#[tokio::test]
async fn revoked_key_is_refused_by_every_process_during_a_database_outage() {
    let (postgres, api, tenant) = with_own_database().await;
    let twin = api.twin().await;
    let name = api.name("kept");
    api.cache(&name).await;
    let ask = json!({"username": name});
    let at_twin = twin.with_key(&tenant.key);
    tenant.post("/v1/analyses", ask.clone()).await.expect(200);
    at_twin.post("/v1/analyses", ask.clone()).await.expect(200);

    let key = api.only_key_of(&tenant).await;
    let path = format!("/admin/v1/tenants/{}/keys/{key}", tenant.id);
    api.admin().raw(Method::DELETE, &path, "", "").await.expect(204);
    postgres.kill();
    at_twin.post("/v1/analyses", ask.clone()).await.refusal(503, "unavailable");
    tenant.post("/v1/analyses", ask.clone()).await.refusal(503, "unavailable");
    postgres.up().await;
    let revoked = async {
        while at_twin.post("/v1/analyses", ask.clone()).await.status != 401 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), revoked).await.expect("the key is still accepted");
    postgres.end();
}

#[tokio::test]
async fn cache_outage_admits_requests_and_answers_503_to_revocations() {
    let redis = Redis::own().await;
    let database = switchyard_jobs::testing::postgres().await.database().await;
    let mount = mounted(&database.uri).await;
    put_secret(mount.path(), files::CACHE_URI, &redis.database());
    let api = TestApi::over(mount, |_| {}, &[]).await;
    let tenant = api.tenant("standard", 10).await;
    let name = api.name("kept");
    api.cache(&name).await;
    tenant.post("/v1/analyses", json!({"username": name})).await.expect(200);

    redis.kill();
    tenant.submit(&name).await;
    tenant.get("/v1/usage").await.expect(200);
    let key = api.only_key_of(&tenant).await;
    let path = format!("/admin/v1/tenants/{}/keys/{key}", tenant.id);
    api.admin().raw(Method::DELETE, &path, "", "").await.refusal(503, "unavailable");
    tenant.get("/v1/usage").await.refusal(401, "unauthenticated");

    redis.up().await;
    let revoked = async {
        while api.admin().raw(Method::DELETE, &path, "", "").await.status != 204 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), revoked).await.expect("the cache is not used again");
    redis.end();
}

#[tokio::test]
async fn replica_answers_reads_marked_stale_during_a_database_outage() {
    let primary = Postgres::own(&["fsync=off"]).await;
    let database = primary.bare_database().await;
    migrate(&mut database.client().await).await.unwrap();
    let replica = primary.replica().await;
    let mount = mounted(&database.uri).await;
    let name = database.uri.rsplit('/').next().unwrap();
    put_secret(mount.path(), files::DATABASE_REPLICA_URIS, &replica.uri(name));
    let api = TestApi::over(mount, |_| {}, &[]).await;
    let tenant = api.tenant("standard", 10).await;
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
    // The replica may lag behind.
    tenant.get(&format!("/v1/jobs/{}", tenant.id)).await.refusal(503, "unavailable");
    api.with_key("sk_unknown").get("/v1/usage").await.refusal(503, "unavailable");
    tenant.post("/v1/analyses", json!({"username": "new"})).await.refusal(503, "unavailable");
    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.refusal(503, "unavailable");
    replica.end();
    primary.end();
}

/// An API with a database behind a proxy that can stop forwarding, and a tenant with a known key.
async fn with_proxied_database(options: &[&str]) -> (Proxy, TestApi, Client) {
    let server = switchyard_jobs::testing::postgres().await;
    let proxy = Proxy::to(server.port()).await;
    let uri = server.database().await.uri.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let api = TestApi::over(mounted(&uri).await, |_| {}, options).await;
    let tenant = api.tenant("standard", 10).await;
    tenant.get("/v1/usage").await.expect(200);
    (proxy, api, tenant)
}

#[tokio::test]
async fn request_timeout_bounds_a_request_to_a_silent_database() {
    let (proxy, _world, tenant) = with_proxied_database(&[]).await;
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
async fn requests_over_the_concurrency_limit_answer_503() {
    let (proxy, api, tenant) = with_proxied_database(&["--in-flight=1"]).await;
    proxy.silence();
    let (run_key, ()) = tokio::join!(tenant.get_with("/v1/usage", &[("request-timeout", "8")]), async {
        while !api.operations("/metrics").await.1.contains("switchyard_api_in_flight 1") {
            tokio::task::yield_now().await;
        }
        let refused = tenant.get("/v1/jobs").await;
        let problem = refused.refusal(503, "unavailable");
        assert!(problem["detail"].as_str().unwrap().contains("overloaded"), "{problem}");
        assert_eq!(refused.header("retry-after"), "1");
    });
    run_key.refusal(503, "unavailable");
    proxy.speak();
    let (_, metrics) = api.operations("/metrics").await;
    assert!(metrics.contains("switchyard_api_in_flight 0"), "{metrics}");
}
