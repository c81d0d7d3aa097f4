use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::World;

#[tokio::test]
async fn a_request_is_accepted_charged_and_followed() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;

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
async fn a_request_reaches_the_queue_of_its_lane() {
    let world = World::alone().await;
    let tenant = world.tenant("premium", 10).await;
    tenant.submit("queued-one").await;
    world.message_in("general", "high").await;
}

#[tokio::test]
async fn the_same_request_under_the_same_key_is_answered_as_the_first_time() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
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

    // Another tenant's key of the same name is another key.
    let stranger = world.tenant("standard", 10).await;
    let answer = stranger.post_with("/v1/analyses", body, &[("idempotency-key", "k-1")]).await;
    answer.expect(202);
    assert_eq!(answer.header("idempotency-replayed"), "");
}

#[tokio::test]
async fn an_idempotent_request_keeps_its_first_answer_even_when_a_result_is_cached_since() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
    let name = world.name("cached-since");
    let key = [("idempotency-key", "k-1")];
    let first = tenant.post_with("/v1/analyses", json!({"username": name}), &key).await.expect(202);
    world.cache(&name).await;
    let again = tenant.post_with("/v1/analyses", json!({"username": name}), &key).await;
    assert_eq!(again.expect(202), first);
    assert_eq!(again.header("idempotency-replayed"), "true");
}

#[tokio::test]
async fn a_recent_result_is_answered_from_the_cache_and_costs_nothing() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
    let name = world.name("recent");
    let result = world.cache(&name).await;

    let answer = tenant.post("/v1/analyses", json!({"username": name})).await;
    let body = answer.expect(200);
    assert_eq!(answer.header("x-cache"), "hit");
    assert_eq!(body["result"], result);
    assert!(body["age_seconds"].as_u64().unwrap() < 60);
    assert_eq!(tenant.get("/v1/usage").await.expect(200)["credits"], 10);

    let fresh = tenant.post("/v1/analyses", json!({"username": name, "force_refresh": true})).await;
    fresh.expect(202);
    assert_eq!(fresh.header("x-cache"), "");

    world.with_key("sk_nobody").post("/v1/analyses", json!({"username": name})).await.refusal(401, "unauthenticated");
}

#[tokio::test]
async fn requests_without_a_valid_key_are_refused() {
    let world = World::start().await;
    let nobody = world.with_key("sk_nobody");
    for path in ["/v1/usage", "/v1/jobs", "/v1/profiles/ada", "/v1/jobs/0198c2b0-0000-7000-8000-000000000000"] {
        let refused = nobody.get(path).await;
        refused.refusal(401, "unauthenticated");
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
        world.anonymous().get(path).await.refusal(401, "unauthenticated");
    }
    nobody.post("/v1/analyses", json!({"username": "ada"})).await.refusal(401, "unauthenticated");
    world.anonymous().post("/v1/analyses", json!({"username": "ada"})).await.refusal(401, "unauthenticated");
}

#[tokio::test]
async fn what_is_not_a_request_is_refused_and_says_why() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
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
async fn credits_and_limits_hold() {
    let world = World::start().await;
    let poor = world.tenant("standard", 1).await;
    let problem = poor.post("/v1/analyses", json!({"username": "a"})).await.refusal(402, "insufficient-credits");
    assert_eq!((&problem["balance"], &problem["price"]), (&json!(1), &json!(2)));

    let busy = world.tenant("free", 10).await;
    busy.submit("one").await;
    busy.submit("two").await;
    let refused = busy.post("/v1/analyses", json!({"username": "three"})).await;
    assert_eq!(refused.refusal(429, "concurrent-limit")["limit"], 2);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(busy.get("/v1/usage").await.expect(200)["credits"], 8);
}

#[tokio::test]
async fn the_days_limit_holds_and_says_when_it_ends() {
    let world = World::with(|config| config.tiers.standard.daily = Some(1)).await;
    let tenant = world.tenant("standard", 10).await;
    let id = tenant.submit("one").await;
    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    let refused = tenant.post("/v1/analyses", json!({"username": "two"})).await;
    assert_eq!(refused.refusal(429, "daily-limit")["limit"], 1);
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_full_lane_takes_nothing_and_no_credits() {
    let world = World::with(|config| config.lanes.critical.capacity = 0).await;
    let tenant = world.tenant("enterprise", 10).await;
    let refused = tenant.post("/v1/analyses", json!({"username": "one"})).await;
    assert_eq!(refused.refusal(429, "lane-full")["lane"], "critical");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(tenant.get("/v1/usage").await.expect(200)["credits"], 10);
}

#[tokio::test]
async fn a_client_gone_wild_is_slowed_down_and_others_are_not() {
    let world = World::with_options(|_| {}, &["--rate-per-second=0.01", "--rate-burst=3"]).await;
    let (wild, calm) = (world.tenant("standard", 10).await, world.tenant("standard", 10).await);
    let mut refused = None;
    for _ in 0..12 {
        let answer = wild.get("/v1/usage").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(200);
    }
    let refused = refused.expect("twelve calls in a burst of three passed");
    refused.refusal(429, "rate-limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    calm.get("/v1/usage").await.expect(200);
}

#[tokio::test]
async fn requests_for_a_profile_in_flight_share_its_analysis_and_look_like_any_other() {
    let world = World::start().await;
    let (one, other) = (world.tenant("standard", 10).await, world.tenant("standard", 10).await);
    let name = world.name("wanted");
    let first = one.submit(&name).await;
    let second = other.submit(&name).await;
    assert_ne!(first, second);
    assert_eq!(other.get("/v1/usage").await.expect(200)["credits"], 8);
    let (_, metrics) = world.operations("/metrics").await;
    assert!(metrics.contains(r#"switchyard_api_submissions_total{outcome="coalesced"} 1"#), "{metrics}");

    world.complete(&first).await;
    for (tenant, id) in [(&one, &first), (&other, &second)] {
        assert_eq!(tenant.get(&format!("/v1/jobs/{id}")).await.expect(200)["state"], "completed");
        let result = tenant.get(&format!("/v1/jobs/{id}/result")).await.expect(200);
        assert_eq!(result["profile"]["username"], *name);
    }
    one.get(&format!("/v1/jobs/{second}")).await.refusal(404, "not-found");
}

#[tokio::test]
async fn a_caller_may_give_a_request_less_time() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
    tenant.get_with("/v1/usage", &[("request-timeout", "2.5")]).await.expect(200);
    for wrong in ["0", "-1", "soon", "NaN", ""] {
        let refused = tenant.get_with("/v1/usage", &[("request-timeout", wrong)]).await;
        assert_eq!(refused.refusal(422, "invalid-request")["errors"][0]["field"], "Request-Timeout");
    }
}

#[tokio::test]
async fn a_flood_of_wrong_keys_is_held_back_before_the_database() {
    let world = World::with_options(|_| {}, &["--unknown-keys-per-second=1"]).await;
    let tenant = world.tenant("standard", 10).await;
    tenant.get("/v1/usage").await.expect(200);
    let mut held_back = None;
    for number in 0..1000 {
        let answer = world.with_key(&format!("sk_wrong_{number}")).get("/v1/usage").await;
        if answer.status == 429 {
            held_back = Some(answer);
            break;
        }
        answer.refusal(401, "unauthenticated");
    }
    held_back.expect("1000 wrong keys were looked up").refusal(429, "rate-limited");
    tenant.get("/v1/usage").await.expect(200);
}
