//! Answers while the model fails, and the candidate model.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use switchyard_ai::{
    analysis::{Analysis, ModelInfo},
    engine::Classifier,
    handler::ClassificationHandler,
    lexicon,
    metrics::Metrics,
    model::ModelError,
    variants::{Variant, Variants},
};
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    handler::{ClaimedJob, Handler, Outcome, RunContext, Step},
    model::{JobError, JobId, TenantId},
    resilience::{Breaker, Policy, breaker::State},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::support::NoProgress;

/// A model with configurable failures.
struct FakeModel {
    info: ModelInfo,
    /// Whether calls succeed.
    healthy: AtomicBool,
    /// Whether its probe fails.
    wrong: AtomicBool,
    /// Whether calls never return.
    stuck: bool,
    calls: AtomicU32,
}

impl FakeModel {
    fn new(stuck: bool) -> Arc<Self> {
        Self::of_version("1", stuck)
    }

    fn of_version(version: &str, stuck: bool) -> Arc<Self> {
        let info = ModelInfo { name: "fake".to_owned(), version: version.to_owned(), fallback: false };
        Arc::new(Self {
            info,
            healthy: AtomicBool::new(false),
            wrong: AtomicBool::new(false),
            stuck,
            calls: AtomicU32::new(0),
        })
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Classifier for FakeModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn classify(&self, posts: Vec<String>) -> Result<Vec<Analysis>, ModelError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.stuck {
            return std::future::pending().await;
        }
        if self.healthy.load(Ordering::Relaxed) {
            Ok(posts.iter().map(|post| lexicon::analyze(post)).collect())
        } else {
            Err(ModelError::Run("on purpose".to_owned()))
        }
    }

    async fn check(&self) -> Result<(), ModelError> {
        if self.wrong.load(Ordering::Relaxed) {
            Err(ModelError::WrongAnswer { cosine: 0.1, least: 0.98 })
        } else {
            Ok(())
        }
    }
}

fn single(model: Arc<FakeModel>, breaker: Breaker) -> ClassificationHandler {
    ClassificationHandler::new(Variants::single(Variant { model, breaker }), Arc::new(Metrics::default()))
}

/// The answer to a chunk of one post, within `time`.
async fn answer(handler: &ClassificationHandler, time: Duration) -> Value {
    match attempt(handler, time, 1, true).await.expect("an answer in any case") {
        Outcome::Complete(output) => output,
        other => panic!("not complete: {other:?}"),
    }
}

/// The outcome of an attempt at a chunk of one post.
async fn attempt(
    handler: &ClassificationHandler,
    time: Duration,
    attempt: i32,
    rules: bool,
) -> Result<Outcome, JobError> {
    attempt_of(handler, TenantId(Uuid::nil()), time, attempt, rules).await
}

async fn attempt_of(
    handler: &ClassificationHandler,
    tenant: TenantId,
    time: Duration,
    attempt: i32,
    rules: bool,
) -> Result<Outcome, JobError> {
    let id = JobId::fresh();
    let job = ClaimedJob {
        id,
        root: id,
        tenant,
        kind: Kind::Ai,
        lane: Lane::Normal,
        attempt,
        username: "anna".to_owned(),
        input: json!({"posts": [{"id": "1", "text": "what a great day, I love it"}], "rules": rules}),
        corrects: false,
        step: Step::Start,
    };
    let context = RunContext {
        progress: Arc::new(NoProgress),
        cancelled: CancellationToken::new(),
        deadline: Instant::now() + time,
    };
    handler.run(&job, &context).await
}

const TIME: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn model_breaker_opens_for_two_minutes_after_four_failed_chunks() {
    let model = FakeModel::new(false);
    let breaker = Breaker::new("model", Policy::AI);
    let handler = single(model.clone(), breaker.clone());
    for chunk in 1..=10 {
        let output = answer(&handler, TIME).await;
        assert_eq!(output["model"]["fallback"], true, "chunk {chunk}");
        assert_eq!(output["posts"][0]["sentiment"]["label"], "positive", "answered by rules");
    }
    assert_eq!((model.calls(), breaker.state()), (4, State::Open), "no call after four failures");

    let left = breaker.admit().expect_err("it is open").retry_after;
    assert_eq!(left, Duration::from_mins(2));

    model.healthy.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(119)).await;
    assert_eq!(answer(&handler, TIME).await["model"]["fallback"], true, "the breaker is still open");
    assert_eq!(model.calls(), 4);
    tokio::time::advance(Duration::from_secs(1)).await;
    let output = answer(&handler, TIME).await;
    assert_eq!(output["model"], json!({"name": "fake", "version": "1", "fallback": false}));
    assert_eq!(breaker.state(), State::HalfOpen, "one success does not close it");
    for _ in 0..30 {
        assert_eq!(answer(&handler, TIME).await["model"]["fallback"], false);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn recovering_model_must_pass_its_probe_first() {
    let model = FakeModel::new(false);
    let breaker = Breaker::new("model", Policy::AI);
    let handler = single(model.clone(), breaker.clone());
    for _ in 0..4 {
        answer(&handler, TIME).await;
    }
    model.healthy.store(true, Ordering::Relaxed);
    model.wrong.store(true, Ordering::Relaxed);
    breaker.record_success();
    assert_eq!(answer(&handler, TIME).await["model"]["fallback"], true, "its probe fails");
    assert_eq!((model.calls(), breaker.state()), (4, State::Open), "it gets no post");

    model.wrong.store(false, Ordering::Relaxed);
    breaker.record_success();
    assert_eq!(answer(&handler, TIME).await["model"]["fallback"], false);
}

#[tokio::test]
async fn stuck_model_leaves_time_for_the_rules() {
    let handler = single(FakeModel::new(true), Breaker::new("model", Policy::AI));
    let began = Instant::now();
    let time = Duration::from_millis(2500);
    assert_eq!(answer(&handler, time).await["model"]["fallback"], true);
    assert!(began.elapsed() < time);
}

#[tokio::test]
async fn chunk_without_rules_waits_for_the_model() {
    let model = FakeModel::new(false);
    let breaker = Breaker::new("model", Policy::AI);
    let handler = single(model.clone(), breaker.clone());
    let mut waits = Vec::new();
    for number in 1..=6 {
        let error = attempt(&handler, TIME, number, false).await.expect_err("no rules");
        assert_eq!((error.code.as_str(), error.permanent), ("model-away", false), "{error}");
        waits.push(error.retry_after_seconds.expect("a time"));
    }
    assert!(waits.is_sorted() && waits[0] == 300 && waits[5] == 28_800, "{waits:?}");
    model.healthy.store(true, Ordering::Relaxed);
    breaker.record_success();
    let outcome = attempt(&handler, TIME, 7, false).await.expect("the model is back");
    assert!(matches!(outcome, Outcome::Complete(output) if output["model"]["fallback"] == false));
}

/// The version of the model that answers a tenant.
async fn version(handler: &ClassificationHandler, tenant: u128) -> Value {
    match attempt_of(handler, TenantId(Uuid::from_u128(tenant)), TIME, 1, true).await {
        Ok(Outcome::Complete(output)) => output["model"]["version"].clone(),
        other => panic!("not complete: {other:?}"),
    }
}

#[tokio::test]
async fn candidate_answers_a_stable_share_of_tenants() {
    let healthy = |version: &str| {
        let model = FakeModel::of_version(version, false);
        model.healthy.store(true, Ordering::Relaxed);
        Variant { model, breaker: Breaker::new("model", Policy::AI) }
    };
    let mut before: Vec<u128> = Vec::new();
    for percent in [0, 10, 40, 100] {
        let models = Variants::with_candidate(healthy("1"), healthy("2"), percent);
        let handler = ClassificationHandler::new(models, Arc::new(Metrics::default()));
        let mut on_candidate = Vec::new();
        for tenant in 0..200 {
            let first = version(&handler, tenant).await;
            assert_eq!(version(&handler, tenant).await, first);
            if first == "2" {
                on_candidate.push(tenant);
            }
        }
        let share = on_candidate.len() / 2;
        assert!(share.abs_diff(percent.into()) <= 8, "{share} % of the tenants, not {percent} %");
        assert!(before.iter().all(|tenant| on_candidate.contains(tenant)), "a larger share includes the smaller one");
        before = on_candidate;
    }
}

#[tokio::test]
async fn stable_model_answers_for_a_failed_or_stuck_candidate() {
    for stuck in [false, true] {
        let (stable, candidate) = (FakeModel::of_version("1", false), FakeModel::of_version("2", stuck));
        stable.healthy.store(true, Ordering::Relaxed);
        let breaker = Breaker::new("candidate-model", Policy::AI);
        let stable_variant = Variant { model: stable.clone(), breaker: Breaker::new("model", Policy::AI) };
        let models = Variants::with_candidate(
            stable_variant,
            Variant { model: candidate.clone(), breaker: breaker.clone() },
            100,
        );
        let handler = ClassificationHandler::new(models, Arc::new(Metrics::default()));
        let began = Instant::now();
        for _ in 0..6 {
            match attempt(&handler, Duration::from_secs(3), 1, true).await.expect("an answer") {
                Outcome::Complete(output) => {
                    assert_eq!(output["model"], json!({"name": "fake", "version": "1", "fallback": false}));
                }
                other => panic!("not complete: {other:?}"),
            }
        }
        assert_eq!((candidate.calls(), breaker.state()), (4, State::Open), "its own breaker opens");
        assert!(began.elapsed() < Duration::from_secs(6));
    }
}
