//! The client of Apify against the stand-in and hand-written servers.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use switchyard_apify_stand_in::Options;
use switchyard_jobs::{
    model::JobError,
    resilience::{Breaker, Policy, breaker::State},
};
use switchyard_worker::apify::{Limits, SourceError};

use tokio::{sync::mpsc, time::timeout};

use super::support::{ACTOR, Client, TOKEN, client, serve, stand_in};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A client with a short timeout.
fn impatient(endpoint: &str) -> Client {
    client(endpoint, ACTOR, TOKEN, Limits { response: Duration::from_millis(400), ..Limits::default() })
}

async fn failure(apify: &Client, username: &str) -> JobError {
    apify.profile(username, soon()).await.expect_err("a failure").into()
}

#[tokio::test]
async fn profile_is_read_with_its_posts() {
    let apify = impatient(&stand_in(Options::default()).await);
    let scraped = apify.profile("anna", soon()).await.expect("a profile");
    assert_eq!(scraped.profile.username, "anna");
    assert!(scraped.profile.followers > 0 && !scraped.profile.related.is_empty() && scraped.profile.picture.is_some());
    assert!((10..=14).contains(&scraped.posts.len()));
    assert!(scraped.posts.iter().all(|post| !post.images.is_empty() && post.at.is_some()));
    assert!(scraped.posts.iter().any(|post| post.text.is_empty()), "some captions are empty");
    assert!(scraped.posts.iter().any(|post| post.likes.is_none()), "some authors hide likes");
    assert_eq!(scraped, apify.profile("anna", soon()).await.expect("a profile"));
}

#[tokio::test]
async fn large_profile_is_read_completely() {
    let apify = client(&stand_in(Options::default()).await, ACTOR, TOKEN, Limits::default());
    let posts = apify.profile("big-anna", soon()).await.expect("a profile").posts;
    assert_eq!(posts.iter().map(|post| &post.id).collect::<HashSet<_>>().len(), 500);
}

#[tokio::test]
async fn every_page_of_a_dataset_is_read() {
    let endpoint = stand_in(Options::default()).await;
    for (page_items, names) in [(2, vec!["a", "b", "c", "d", "e"]), (2, vec!["a", "b", "c", "d"]), (100, vec!["a"])] {
        let apify = client(&endpoint, ACTOR, TOKEN, Limits { page_items, ..Limits::default() });
        let items = apify.run(&names, soon()).await.expect("items");
        assert_eq!(items.iter().filter_map(|item| item["username"].as_str()).collect::<Vec<_>>(), names);
        assert!(items.iter().all(|item| item.get("#debug").is_none()), "hidden fields are left out");
    }
}

#[tokio::test]
async fn lone_surrogate_in_a_caption_is_replaced() {
    let apify = client(&stand_in(Options::default()).await, ACTOR, TOKEN, Limits::default());
    let scraped = apify.profile("cut-anna", soon()).await.expect("a profile");
    assert!(scraped.posts.len() >= 10);
    assert!(scraped.posts.iter().all(|post| post.text.starts_with("\u{fffd} ")), "{:?}", scraped.posts[0].text);
}

#[tokio::test]
async fn run_is_polled_until_it_ends() {
    let options = Options { slow_run_time: Duration::from_millis(2500), ..Options::default() };
    let limits = Limits { wait: Duration::from_secs(1), ..Limits::default() };
    let apify = client(&stand_in(options).await, ACTOR, TOKEN, limits);
    assert_eq!(apify.profile("slow-anna", soon()).await.expect("a profile").profile.username, "slow-anna");
}

#[tokio::test]
async fn run_longer_than_the_attempt_times_out() {
    let options = Options { slow_run_time: Duration::from_mins(1), ..Options::default() };
    let apify = client(&stand_in(options).await, ACTOR, TOKEN, Limits::default());
    let began = Instant::now();
    let error = apify.profile("slow-anna", began + Duration::from_secs(3)).await.expect_err("out of time");
    assert!(matches!(error, SourceError::OutOfTime(_)), "{error}");
    assert!(began.elapsed() < Duration::from_secs(4));
    assert!(!JobError::from(error).permanent);
}

#[tokio::test]
async fn each_source_failure_has_its_code_and_retryability() {
    let endpoint = stand_in(Options::default()).await;
    let apify = impatient(&endpoint);
    for (username, code, permanent) in [
        ("missing-anna", "profile-not-found", true),
        ("empty-anna", "profile-not-found", true),
        ("unpaid-anna", "profile-source-payment", true),
        ("fail-anna", "profile-source-unavailable", false),
        ("stall-anna", "profile-source-unavailable", false),
        ("garbage-anna", "profile-source-garbage", false),
        ("broken-anna", "profile-source-run-failed", false),
    ] {
        let error = failure(&apify, username).await;
        assert_eq!((error.code.as_str(), error.permanent), (code, permanent), "{username}: {error}");
        assert!(!error.message.contains(TOKEN));
    }
    let wrong = client(&endpoint, ACTOR, "another-token", Limits::default());
    let error = failure(&wrong, "anna").await;
    assert_eq!((error.code.as_str(), error.permanent), ("profile-source-token", true));
    let nobody = client(&endpoint, "nobody/nothing", TOKEN, Limits::default());
    let error = failure(&nobody, "anna").await;
    assert_eq!((error.code.as_str(), error.permanent), ("profile-source-actor", true));
    assert!(error.message.contains("nobody~nothing"), "{error}");
    let unreachable = failure(&impatient("http://127.0.0.1:9"), "anna").await;
    assert_eq!((unreachable.code.as_str(), unreachable.permanent), ("profile-source-unavailable", false));
}

#[tokio::test]
async fn flaky_source_works_at_the_third_attempt() {
    let apify = impatient(&stand_in(Options::default()).await);
    for _ in 0..2 {
        assert_eq!(failure(&apify, "flaky-anna").await.code, "profile-source-unavailable");
    }
    assert_eq!(apify.profile("flaky-anna", soon()).await.expect("a profile").profile.username, "flaky-anna");
}

#[tokio::test]
async fn rate_limited_source_reports_retry_after() {
    let options = Options { retry_after: Duration::from_secs(7), ..Options::default() };
    let apify = impatient(&stand_in(options).await);
    let error = failure(&apify, "limit-anna").await;
    assert_eq!((error.code.as_str(), error.permanent), ("profile-source-rate-limited", false));
    assert_eq!(error.retry_after_seconds, Some(7));
    assert!(apify.profile("limit-anna", soon()).await.is_ok());
}

/// A server whose runs succeed at once and whose dataset responds with `items`.
async fn with_items(items: impl Fn() -> Response + Clone + Send + Sync + 'static) -> String {
    let run = json!({"data": {"id": "r", "status": "SUCCEEDED", "defaultDatasetId": "d"}});
    let router = Router::new()
        .route("/v2/acts/{actor}/runs", post(async move || (StatusCode::CREATED, Json(run))))
        .route("/v2/datasets/{dataset}/items", get(async move || items()));
    serve(router).await
}

#[tokio::test]
async fn oversized_source_answer_is_refused() {
    let endpoint = with_items(|| vec![b' '; 200_000].into_response()).await;
    let apify = client(&endpoint, ACTOR, TOKEN, Limits { response_bytes: 100_000, ..Limits::default() });
    assert_eq!(failure(&apify, "anna").await.code, "profile-source-garbage");
}

#[tokio::test]
async fn echoed_token_is_redacted() {
    let words = format!("no luck with {TOKEN}\nin here");
    let body = json!({"error": {"type": "insufficient-permissions", "message": words}});
    let endpoint = with_items(move || (StatusCode::FORBIDDEN, Json(body.clone())).into_response()).await;
    let error = failure(&impatient(&endpoint), "anna").await;
    assert_eq!(error.code, "profile-source-token");
    assert!(error.message.contains("[token] in here") && !error.message.contains(TOKEN), "{error}");
}

#[tokio::test]
async fn forbidden_for_a_usage_limit_is_a_payment_error() {
    let body = json!({"error": {"type": "monthly-usage-limit-exceeded", "message": "Upgrade"}});
    let endpoint = with_items(move || (StatusCode::FORBIDDEN, Json(body.clone())).into_response()).await;
    assert_eq!(failure(&impatient(&endpoint), "anna").await.code, "profile-source-payment");
}

#[tokio::test]
async fn concurrency_limit_of_the_account_is_retried_later() {
    for (status, kind) in [(403, "concurrent-runs-limit-exceeded"), (402, "actor-memory-limit-exceeded")] {
        let body = json!({"error": {"type": kind, "message": "Too much at once"}});
        let start = post(async move || (StatusCode::from_u16(status).expect("a status"), Json(body)));
        let endpoint = serve(Router::new().route("/v2/acts/{actor}/runs", start)).await;
        let error = failure(&impatient(&endpoint), "anna").await;
        assert_eq!((error.code.as_str(), error.permanent), ("profile-source-crowded", false));
    }
}

/// A server whose run never ends, and the calls that it receives.
async fn with_endless_run() -> (String, mpsc::UnboundedReceiver<&'static str>) {
    let (calls, received) = mpsc::unbounded_channel();
    let run = || Json(json!({"data": {"id": "r", "status": "RUNNING", "defaultDatasetId": "d"}}));
    let polled = calls.clone();
    let router = Router::new()
        .route("/v2/acts/{actor}/runs", post(async move || (StatusCode::CREATED, run())))
        .route(
            "/v2/actor-runs/r",
            get(async move || {
                // The test may have ended.
                let _ = polled.send("polled");
                tokio::time::sleep(Duration::from_millis(100)).await;
                run()
            }),
        )
        .route(
            "/v2/actor-runs/r/abort",
            post(async move |headers: HeaderMap| {
                let bearer = format!("Bearer {TOKEN}");
                let authenticated = headers.get(header::AUTHORIZATION).is_some_and(|value| value == bearer.as_str());
                let _ = calls.send(if authenticated { "aborted" } else { "aborted without the token" });
                run()
            }),
        );
    (serve(router).await, received)
}

async fn wait_for(received: &mut mpsc::UnboundedReceiver<&'static str>, call: &str) {
    let found = async { while received.recv().await.expect("the server lives") != call {} };
    timeout(Duration::from_secs(20), found).await.unwrap_or_else(|_| panic!("never {call}"));
}

#[tokio::test]
async fn run_is_aborted_when_its_job_is_dropped() {
    let (endpoint, mut received) = with_endless_run().await;
    let job = tokio::spawn(async move { impatient(&endpoint).profile("anna", soon()).await });
    wait_for(&mut received, "polled").await;
    job.abort();
    wait_for(&mut received, "aborted").await;
}

#[tokio::test]
async fn run_is_aborted_when_the_attempt_times_out() {
    let (endpoint, mut received) = with_endless_run().await;
    let deadline = Instant::now() + Duration::from_millis(1500);
    let error = impatient(&endpoint).profile("anna", deadline).await.expect_err("out of time");
    assert!(matches!(error, SourceError::OutOfTime(_)), "{error}");
    wait_for(&mut received, "aborted").await;
}

#[tokio::test]
async fn breaker_counts_failed_starts_and_not_refusals() {
    let endpoint = stand_in(Options::default()).await;
    for (username, state) in [("unpaid-a", State::Closed), ("limit-a", State::Closed), ("fail-a", State::Open)] {
        let breaker = Breaker::new("one", Policy { failures: 1, ..Policy::EXTERNAL });
        let apify = Client { breaker: breaker.clone(), ..impatient(&endpoint) };
        failure(&apify, username).await;
        assert_eq!(breaker.state(), state, "{username}");
    }
}

#[tokio::test]
async fn dataset_read_is_retried() {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    let endpoint = with_items(move || match seen.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => StatusCode::BAD_GATEWAY.into_response(),
        _ => Json(json!([{"username": "anna"}])).into_response(),
    })
    .await;
    assert_eq!(impatient(&endpoint).profile("anna", soon()).await.expect("a profile").profile.username, "anna");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}
