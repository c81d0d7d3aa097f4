//! Requests for an analysis: admission, charges, limits, idempotency, the cache.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use switchyard_jobs::testing;

use crate::fixture::{TestApi, mounted};

#[tokio::test]
async fn analysis_is_accepted_and_charged() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;

    let answer = tenant.post("/v1/analyses", json!({"username": "@ada"})).await;
    let body = answer.expect(202);
    let id = body["job"]["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    assert_eq!(body["job"]["state"], "queued");
    assert_eq!(body["job"]["lane"], "normal");
    assert_eq!(body["job"]["username"], "ada");
    assert_eq!(body["job"]["attempt"], 0);
    assert_eq!(body["job"]["progress"], 0);
    assert_eq!(body["credits"], json!({"charged": 2, "balance": 8}));
    assert!(!answer.header("x-request-id").is_empty());

    let job = tenant.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(job["id"], *id);
    let usage = tenant.get("/v1/usage").await.expect(200);
    assert_eq!(
        usage,
        json!({"tier": "standard", "credits": 8, "running": 1, "running_limit": 5, "today": 1, "daily_limit": 500})
    );
}

#[tokio::test]
async fn analysis_reaches_the_queue_of_its_lane() {
    let api = TestApi::with_own_broker().await;
    let tenant = api.tenant("premium", 10).await;
    tenant.submit("queued-one").await;
    api.message_in("general", "high").await;
}

#[tokio::test]
async fn idempotency_key_repeats_the_first_response() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let body = json!({"username": "twice"});
    let first = tenant.post_with("/v1/analyses", body.clone(), &[("idempotency-key", "k-1")]).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = tenant.post_with("/v1/analyses", json!({"username": "@twice"}), &[("idempotency-key", "k-1")]).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(first.expect(202), again.expect(202));
    assert_eq!(again.header("location"), first.header("location"));

    let other = tenant.post_with("/v1/analyses", json!({"username": "else"}), &[("idempotency-key", "k-1")]).await;
    other.refusal(409, "idempotency-conflict");
    assert_eq!(tenant.get("/v1/usage").await.expect(200)["credits"], 8);

    // Idempotency keys belong to their tenant.
    let other = api.tenant("standard", 10).await;
    let answer = other.post_with("/v1/analyses", body, &[("idempotency-key", "k-1")]).await;
    answer.expect(202);
    assert_eq!(answer.header("idempotency-replayed"), "");
}

#[tokio::test]
async fn idempotency_key_takes_precedence_over_the_cache() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let name = api.name("cached-since");
    let key = [("idempotency-key", "k-1")];
    let first = tenant.post_with("/v1/analyses", json!({"username": name}), &key).await.expect(202);
    api.cache(&name).await;
    let again = tenant.post_with("/v1/analyses", json!({"username": name}), &key).await;
    assert_eq!(again.expect(202), first);
    assert_eq!(again.header("idempotency-replayed"), "true");
}

#[tokio::test]
async fn recent_result_is_served_from_the_cache_free_of_charge() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let name = api.name("recent");
    let result = api.cache(&name).await;

    let answer = tenant.post("/v1/analyses", json!({"username": name})).await;
    let body = answer.expect(200);
    assert_eq!(answer.header("x-cache"), "hit");
    assert_eq!(body["result"], result);
    assert!(body["age_seconds"].as_u64().unwrap() < 60);
    assert_eq!(tenant.get("/v1/usage").await.expect(200)["credits"], 10);

    let fresh = tenant.post("/v1/analyses", json!({"username": name, "force_refresh": true})).await;
    fresh.expect(202);
    assert_eq!(fresh.header("x-cache"), "");

    api.with_key("sk_unknown").post("/v1/analyses", json!({"username": name})).await.refusal(401, "unauthenticated");
}

#[tokio::test]
async fn requests_without_a_valid_key_answer_401() {
    let api = TestApi::start().await;
    let unknown = api.with_key("sk_unknown");
    for path in ["/v1/usage", "/v1/jobs", "/v1/profiles/ada", "/v1/jobs/0198c2b0-0000-7000-8000-000000000000"] {
        let refused = unknown.get(path).await;
        refused.refusal(401, "unauthenticated");
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
        api.anonymous().get(path).await.refusal(401, "unauthenticated");
    }
    unknown.post("/v1/analyses", json!({"username": "ada"})).await.refusal(401, "unauthenticated");
    api.anonymous().post("/v1/analyses", json!({"username": "ada"})).await.refusal(401, "unauthenticated");
}

#[tokio::test]
async fn invalid_requests_answer_422_with_the_field() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let refused = async |body: Value| {
        let answer = tenant.post("/v1/analyses", body).await;
        let problem = answer.refusal(422, "invalid-request");
        problem["errors"][0]["field"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused(json!({})).await, "username");
    assert_eq!(refused(json!({"username": ""})).await, "username");
    assert_eq!(refused(json!({"username": 7})).await, "username");
    assert_eq!(refused(json!({"username": null})).await, "username");
    assert_eq!(refused(json!({"username": "a b"})).await, "username");
    assert_eq!(refused(json!({"username": "x".repeat(65)})).await, "username");
    assert_eq!(refused(json!({"username": "a", "force_refresh": "yes"})).await, "force_refresh");
    assert_eq!(refused(json!({"username": "a", "priority": 1})).await, "priority");
    assert_eq!(refused(json!(["a", true])).await, "");
    assert_eq!(refused(json!("a")).await, "");
    assert_eq!(refused(json!({"username": "a", "note": "x".repeat(17 * 1024)})).await, "");

    let raw = tenant.raw(Method::POST, "/v1/analyses", "text/plain", "username=a").await;
    raw.refusal(422, "invalid-request");
    tenant
        .raw(Method::POST, "/v1/analyses", "application/json", "{\"username\":")
        .await
        .refusal(422, "invalid-request");
    for key in ["", "a b", &"x".repeat(256)] {
        let answer = tenant.post_with("/v1/analyses", json!({"username": "a"}), &[("idempotency-key", key)]).await;
        assert_eq!(answer.refusal(422, "invalid-request")["errors"][0]["field"], "Idempotency-Key");
    }
    assert_eq!(tenant.get("/v1/usage").await.expect(200)["today"], 0);
}

#[tokio::test]
async fn credits_and_concurrency_limit_are_enforced() {
    let api = TestApi::start().await;
    let poor = api.tenant("standard", 1).await;
    let problem = poor.post("/v1/analyses", json!({"username": "a"})).await.refusal(402, "insufficient-credits");
    assert_eq!((&problem["balance"], &problem["price"]), (&json!(1), &json!(2)));

    let busy = api.tenant("free", 10).await;
    busy.submit("one").await;
    busy.submit("two").await;
    let refused = busy.post("/v1/analyses", json!({"username": "three"})).await;
    assert_eq!(refused.refusal(429, "concurrent-limit")["limit"], 2);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(busy.get("/v1/usage").await.expect(200)["credits"], 8);
}

#[tokio::test]
async fn daily_limit_is_enforced_until_midnight() {
    let api = TestApi::with(|config| config.tiers.standard.daily = Some(1)).await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit("one").await;
    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    let refused = tenant.post("/v1/analyses", json!({"username": "two"})).await;
    assert_eq!(refused.refusal(429, "daily-limit")["limit"], 1);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
}

#[tokio::test]
async fn full_lane_answers_429_and_charges_nothing() {
    let api = TestApi::with(|config| config.lanes.critical.capacity = 0).await;
    let tenant = api.tenant("enterprise", 10).await;
    let refused = tenant.post("/v1/analyses", json!({"username": "one"})).await;
    assert_eq!(refused.refusal(429, "lane-full")["lane"], "critical");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(tenant.get("/v1/usage").await.expect(200)["credits"], 10);
}

#[tokio::test]
async fn rate_limit_applies_by_tenant() {
    let api = TestApi::with_options(|_| {}, &["--rate-per-second=0.01", "--rate-burst=3"]).await;
    let (busy, idle) = (api.tenant("standard", 10).await, api.tenant("standard", 10).await);
    let mut refused = None;
    for _ in 0..12 {
        let answer = busy.get("/v1/usage").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(200);
    }
    let refused = refused.expect("twelve calls in a burst of three passed");
    refused.refusal(429, "rate-limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    idle.get("/v1/usage").await.expect(200);
}

#[tokio::test]
async fn requests_for_the_same_profile_share_one_pipeline() {
    let api = TestApi::start().await;
    let (one, other) = (api.tenant("standard", 10).await, api.tenant("standard", 10).await);
    let name = api.name("wanted");
    let first = one.submit(&name).await;
    let second = other.submit(&name).await;
    assert_ne!(first, second);
    assert_eq!(other.get("/v1/usage").await.expect(200)["credits"], 8);
    let (_, metrics) = api.operations("/metrics").await;
    assert!(metrics.contains(r#"switchyard_api_submissions_total{outcome="coalesced"} 1"#), "{metrics}");

    api.complete(&first).await;
    for (tenant, id) in [(&one, &first), (&other, &second)] {
        assert_eq!(tenant.get(&format!("/v1/jobs/{id}")).await.expect(200)["state"], "completed");
        let result = tenant.get(&format!("/v1/jobs/{id}/result")).await.expect(200);
        assert_eq!(result["profile"]["username"], *name);
    }
    one.get(&format!("/v1/jobs/{second}")).await.refusal(404, "not-found");
}

#[tokio::test]
async fn request_timeout_header_is_validated() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    tenant.get_with("/v1/usage", &[("request-timeout", "2.5")]).await.expect(200);
    for wrong in ["0", "-1", "soon", "NaN", ""] {
        let refused = tenant.get_with("/v1/usage", &[("request-timeout", wrong)]).await;
        assert_eq!(refused.refusal(422, "invalid-request")["errors"][0]["field"], "Request-Timeout");
    }
}

#[tokio::test]
async fn flood_of_unknown_keys_answers_429_without_a_query() {
    let database = testing::postgres().await.database().await;
    let client = database.client().await;
    client
        .batch_execute(
            "create sequence public.lookups;
             alter function switchyard.authenticate(bytea) rename to authenticate_uncounted;
             create function switchyard.authenticate(p_hash bytea) returns jsonb language plpgsql security definer as $$
             begin
                 perform nextval('public.lookups');
                 return switchyard.authenticate_uncounted(p_hash);
             end $$",
        )
        .await
        .unwrap();
    let lookups = async || -> i64 {
        let row = client.query_one("select case when is_called then last_value else 0 end from public.lookups", &[]);
        row.await.unwrap().get(0)
    };
    let api = TestApi::over(mounted(&database.uri).await, |_| {}, &["--unknown-keys-per-second=1"]).await;
    let tenant = api.tenant("standard", 10).await;
    tenant.get("/v1/usage").await.expect(200);
    let (before, began) = (lookups().await, Instant::now());
    assert!(before >= 1, "the lookup of the tenant's key is counted");
    let (mut unauthenticated, mut limited) = (0, 0);
    for number in 0..200 {
        let answer = api.with_key(&format!("sk_wrong_{number}")).get("/v1/usage").await;
        if answer.status == 429 {
            answer.refusal(429, "rate-limited");
            limited += 1;
        } else {
            answer.refusal(401, "unauthenticated");
            unauthenticated += 1;
        }
    }
    assert_eq!(lookups().await - before, unauthenticated, "the other keys reached no database");
    // Ten at once, then one a second.
    let most = 10 + i64::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(unauthenticated <= most && limited > 0, "{unauthenticated} of at most {most}, {limited}");
    tenant.get("/v1/usage").await.expect(200);
}
