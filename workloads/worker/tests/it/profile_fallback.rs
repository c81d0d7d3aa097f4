//! The cached profile as the fallback of the profile source, against the stand-in and a real Redis.

use std::time::{Duration, Instant};

use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::json;
use switchyard_apify_stand_in::Options;
use switchyard_contract::{Analysis, Kind, SourceLimits};
use switchyard_jobs::{
    handler::{ChildResult, Handler, Outcome, Step},
    model::{JobError, TenantId},
    resilience::breaker::State,
    testing::redis,
};
use switchyard_worker::{
    analysis::{AnalysisHandler, Source},
    apify::SourceError,
    profile_fetcher::{FetchedProfile, ProfileRequest},
};
use uuid::Uuid;

use super::support::{TestSource, analysis_input, context, job, source, stand_in};

async fn healthy_source() -> TestSource {
    let endpoint = stand_in(Options::default()).await;
    source(&endpoint, &redis().await.database(), SourceLimits::default())
}

fn request(username: &str) -> ProfileRequest<'_> {
    ProfileRequest { username, tenant: TenantId(Uuid::nil()), fresh: false, last_attempt: false }
}

async fn fetch(source: &TestSource, request: ProfileRequest<'_>) -> Result<FetchedProfile, SourceError> {
    source.fetcher.fetch(request, Instant::now() + Duration::from_secs(20)).await
}

/// Opens the breaker as five failures in a row do.
fn open_breaker(source: &TestSource) {
    for _ in 0..5 {
        source.breaker.record_failure();
    }
    assert_eq!(source.breaker.state(), State::Open);
}

#[tokio::test]
async fn source_breaker_opens_after_five_failures_and_closes_step_by_step() {
    let source = healthy_source().await;
    for number in 1..=5 {
        let error = fetch(&source, request(&format!("fail-{number}"))).await.expect_err("it always fails");
        assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
    }
    let error = fetch(&source, request("anna")).await.expect_err("the breaker is open");
    let error = JobError::from(error);
    assert_eq!((error.code.as_str(), error.permanent), ("profile-source-resting", false));
    assert!((50..=60).contains(&error.retry_after_seconds.expect("when to come back")), "{error:?}");

    // As at the end of the open minute.
    source.breaker.record_success();
    for _ in 0..40 {
        fetch(&source, request("anna")).await.expect("a healthy source");
    }
    assert_eq!((source.breaker.state(), source.breaker.openings()), (State::Closed, 1));
}

#[tokio::test]
async fn cached_profile_is_used_and_marked_while_the_breaker_is_open() {
    let source = healthy_source().await;
    let fresh = fetch(&source, request("anna")).await.expect("a healthy source");
    assert_eq!(fresh.age_seconds, None);
    open_breaker(&source);

    let general = AnalysisHandler::new(Source::Apify(source.fetcher.clone()), Analysis::default(), 3);
    let step = |step| job(Kind::General, "anna", analysis_input("anna"), step);
    let Ok(Outcome::Spawn { kept, children, .. }) = general.run(&step(Step::Start), &context().0).await else {
        panic!("not fanned out")
    };
    let dead = || JobError::transient("any", "for the test");
    let children = children.into_iter().map(|child| ChildResult {
        kind: child.kind,
        result: match child.kind {
            Kind::Ai => Ok(classified(&child.input)),
            _ => Err(dead()),
        },
        input: child.input,
    });
    let join = Step::Join { kept, children: children.collect() };
    let Ok(Outcome::Complete(result)) = general.run(&step(join), &context().0).await else { panic!("not complete") };
    assert_eq!(result["profile"]["cached"], true);
    assert!(result["profile"]["age_seconds"].as_u64().is_some_and(|age| age < 60), "{}", result["profile"]);
    assert_eq!(result["posts"].as_array().map(Vec::len), Some(fresh.scraped.posts.len()));

    let mut registry = Registry::default();
    source.metrics.register(&mut registry);
    let mut shown = String::new();
    encode(&mut shown, &registry).expect("encodes");
    assert!(shown.contains("switchyard_profile_source_fallbacks_total 1"), "{shown}");
}

/// The output of an ai worker for `input`.
fn classified(input: &serde_json::Value) -> serde_json::Value {
    let label = json!({"label": "neutral", "score": 0.5});
    let posts = input["posts"].as_array().expect("posts").iter();
    let posts = posts.map(|post| json!({"id": post["id"], "language": "en", "sentiment": label, "category": label}));
    json!({"model": {"name": "test", "version": "1", "fallback": false}, "posts": posts.collect::<Vec<_>>()})
}

#[tokio::test]
async fn forced_refresh_never_uses_the_cached_profile() {
    let source = healthy_source().await;
    fetch(&source, request("anna")).await.expect("a healthy source");
    open_breaker(&source);
    let error = fetch(&source, ProfileRequest { fresh: true, last_attempt: true, ..request("anna") })
        .await
        .expect_err("refused");
    assert!(matches!(error, SourceError::Resting { .. }), "{error}");
}

#[tokio::test]
async fn cached_profile_is_used_only_on_the_last_attempt() {
    let source = healthy_source().await;
    let cached = fetch(&source, request("anna")).await.expect("a healthy source").scraped;
    source.cache.put_profile("fail-anna", &serde_json::to_value(&cached).expect("JSON")).await;
    let error = fetch(&source, request("fail-anna")).await.expect_err("a retry may help");
    assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
    let found = fetch(&source, ProfileRequest { last_attempt: true, ..request("fail-anna") })
        .await
        .expect("better than nothing");
    assert_eq!(found.scraped, cached);
    assert!(found.age_seconds.is_some());
}

#[tokio::test]
async fn deleted_profile_is_not_served_from_the_cache() {
    let source = healthy_source().await;
    let cached = fetch(&source, request("anna")).await.expect("a healthy source").scraped;
    source.cache.put_profile("missing-anna", &serde_json::to_value(&cached).expect("JSON")).await;
    let error =
        fetch(&source, ProfileRequest { last_attempt: true, ..request("missing-anna") }).await.expect_err("gone");
    assert!(matches!(error, SourceError::NoProfile(_)), "{error}");
}

#[tokio::test]
async fn throttled_job_reports_when_to_retry() {
    let endpoint = stand_in(Options::default()).await;
    let limits = SourceLimits { tenant_runs_per_minute: 1, ..SourceLimits::default() };
    let source = source(&endpoint, &redis().await.database(), limits);
    fetch(&source, request("anna")).await.expect("the first is free");
    let error = JobError::from(fetch(&source, request("anna")).await.expect_err("a minute too early"));
    assert_eq!((error.code.as_str(), error.permanent), ("profile-source-throttled", false));
    assert!((50..=60).contains(&error.retry_after_seconds.expect("when to come back")), "{error:?}");
    let other = ProfileRequest { tenant: TenantId(Uuid::from_u128(1)), ..request("anna") };
    fetch(&source, other).await.expect("another tenant's turn");
}
