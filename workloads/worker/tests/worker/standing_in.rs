//! The profile source left alone, and what stands in for it, against the stand-in for Apify and a real Redis.

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
    analysis::{Analyse, Source},
    apify::SourceError,
    profiles::{Found, Wanted},
};
use uuid::Uuid;

use super::support::{Guarded, asked, context, guarded, job, stand_in};

async fn source() -> Guarded {
    let endpoint = stand_in(Options::default()).await;
    guarded(&endpoint, &redis().await.database(), SourceLimits::default())
}

fn wanted(username: &str) -> Wanted<'_> {
    Wanted { username, tenant: TenantId(Uuid::nil()), fresh: false, last_attempt: false }
}

async fn find(source: &Guarded, wanted: Wanted<'_>) -> Result<Found, SourceError> {
    source.profiles.find(wanted, Instant::now() + Duration::from_secs(20)).await
}

/// What five failures in a row do.
fn leave_alone(source: &Guarded) {
    for _ in 0..5 {
        source.breaker.record_failure();
    }
    assert_eq!(source.breaker.state(), State::Open);
}

#[tokio::test]
async fn a_source_that_fails_five_times_is_left_alone_and_let_back_step_by_step() {
    let source = source().await;
    for number in 1..=5 {
        let error = find(&source, wanted(&format!("fail-{number}"))).await.expect_err("it always fails");
        assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
    }
    let error = find(&source, wanted("anna")).await.expect_err("nobody asks for anna now");
    let error = JobError::from(error);
    assert_eq!((error.code.as_str(), error.permanent), ("profile-source-resting", false));
    assert!((50..=60).contains(&error.retry_after_seconds.expect("when to come back")), "{error:?}");

    // What the end of the minute does.
    source.breaker.record_success();
    for _ in 0..40 {
        find(&source, wanted("anna")).await.expect("the source is well");
    }
    assert_eq!((source.breaker.state(), source.breaker.openings()), (State::Closed, 1));
}

#[tokio::test]
async fn while_the_source_is_left_alone_the_kept_profile_stands_in_and_the_result_says_so() {
    let source = source().await;
    let fresh = find(&source, wanted("anna")).await.expect("the source is well");
    assert_eq!(fresh.age_seconds, None);
    leave_alone(&source);

    let general = Analyse::new(Source::Apify(source.profiles.clone()), Analysis::default(), 3);
    let step = |step| job(Kind::General, "anna", asked("anna"), step);
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

/// What an ai worker would answer.
fn classified(input: &serde_json::Value) -> serde_json::Value {
    let label = json!({"label": "neutral", "score": 0.5});
    let posts = input["posts"].as_array().expect("posts").iter();
    let posts = posts.map(|post| json!({"id": post["id"], "language": "en", "sentiment": label, "category": label}));
    json!({"model": {"name": "test", "version": "1", "fallback": false}, "posts": posts.collect::<Vec<_>>()})
}

#[tokio::test]
async fn who_wants_it_fresh_gets_it_fresh_or_not_at_all() {
    let source = source().await;
    find(&source, wanted("anna")).await.expect("the source is well");
    leave_alone(&source);
    let error = find(&source, Wanted { fresh: true, last_attempt: true, ..wanted("anna") }).await.expect_err("refused");
    assert!(matches!(error, SourceError::Resting { .. }), "{error}");
}

#[tokio::test]
async fn a_failing_source_is_tried_again_before_the_kept_profile_stands_in() {
    let source = source().await;
    let kept = find(&source, wanted("anna")).await.expect("the source is well").scraped;
    source.cache.put_profile("fail-anna", &serde_json::to_value(&kept).expect("JSON")).await;
    let error = find(&source, wanted("fail-anna")).await.expect_err("another attempt may do");
    assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
    let found = find(&source, Wanted { last_attempt: true, ..wanted("fail-anna") }).await.expect("better than nothing");
    assert_eq!(found.scraped, kept);
    assert!(found.age_seconds.is_some());
}

#[tokio::test]
async fn a_profile_that_is_gone_is_gone_whatever_was_kept() {
    let source = source().await;
    let kept = find(&source, wanted("anna")).await.expect("the source is well").scraped;
    source.cache.put_profile("missing-anna", &serde_json::to_value(&kept).expect("JSON")).await;
    let error = find(&source, Wanted { last_attempt: true, ..wanted("missing-anna") }).await.expect_err("gone");
    assert!(matches!(error, SourceError::NoProfile(_)), "{error}");
}

#[tokio::test]
async fn a_job_that_has_no_time_to_wait_for_its_turn_is_told_when_to_come_back() {
    let endpoint = stand_in(Options::default()).await;
    let limits = SourceLimits { tenant_runs_per_minute: 1, ..SourceLimits::default() };
    let source = guarded(&endpoint, &redis().await.database(), limits);
    find(&source, wanted("anna")).await.expect("the first is free");
    let error = JobError::from(find(&source, wanted("anna")).await.expect_err("a minute too early"));
    assert_eq!((error.code.as_str(), error.permanent), ("profile-source-throttled", false));
    assert!((50..=60).contains(&error.retry_after_seconds.expect("when to come back")), "{error:?}");
    let other = Wanted { tenant: TenantId(Uuid::from_u128(1)), ..wanted("anna") };
    find(&source, other).await.expect("another tenant's turn");
}
