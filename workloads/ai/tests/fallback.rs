//! What happens to posts while the model fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use switchyard_ai::{
    Analysis, ModelInfo,
    engine::Classify,
    handler::AnalysePosts,
    lexicon,
    metrics::Metrics,
    model::ModelError,
    variants::{Variant, Variants},
};
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    handler::{ClaimedJob, Handler, Outcome, Progress, RunContext, Step},
    model::{JobError, JobId, TenantId},
    resilience::{Breaker, Policy, breaker::State},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A model that does as it is told.
struct Told {
    info: ModelInfo,
    well: AtomicBool,
    /// Answers, and wrongly.
    wrong: AtomicBool,
    /// Never answers.
    stuck: bool,
    asked: AtomicU32,
}

impl Told {
    fn new(stuck: bool) -> Arc<Self> {
        Self::of_version("1", stuck)
    }

    fn of_version(version: &str, stuck: bool) -> Arc<Self> {
        let info = ModelInfo { name: "told".to_owned(), version: version.to_owned(), fallback: false };
        Arc::new(Self {
            info,
            well: AtomicBool::new(false),
            wrong: AtomicBool::new(false),
            stuck,
            asked: AtomicU32::new(0),
        })
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Classify for Told {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn classify(&self, posts: Vec<String>) -> Result<Vec<Analysis>, ModelError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.stuck {
            return std::future::pending().await;
        }
        match self.well.load(Ordering::Relaxed) {
            true => Ok(posts.iter().map(|post| lexicon::analyze(post)).collect()),
            false => Err(ModelError::Run("on purpose".to_owned())),
        }
    }

    async fn check(&self) -> Result<(), ModelError> {
        match self.wrong.load(Ordering::Relaxed) {
            true => Err(ModelError::WrongAnswer { cosine: 0.1, least: 0.98 }),
            false => Ok(()),
        }
    }
}

fn one(model: Arc<Told>, breaker: Breaker) -> AnalysePosts {
    AnalysePosts::new(Variants::one(Variant { model, breaker }), Arc::new(Metrics::default()))
}

struct Unheard;

impl Progress for Unheard {
    fn report(&self, _: u8, _: &str) {}
}

/// The answer to a chunk of one post, within `time`.
async fn answer(handler: &AnalysePosts, time: Duration) -> Value {
    match attempt(handler, time, 1, true).await.expect("an answer in any case") {
        Outcome::Complete(output) => output,
        other => panic!("not complete: {other:?}"),
    }
}

/// What an attempt at a chunk of one post comes to.
async fn attempt(handler: &AnalysePosts, time: Duration, attempt: i32, rules: bool) -> Result<Outcome, JobError> {
    attempt_of(handler, TenantId(Uuid::nil()), time, attempt, rules).await
}

async fn attempt_of(
    handler: &AnalysePosts,
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
        progress: Arc::new(Unheard),
        cancelled: CancellationToken::new(),
        deadline: Instant::now() + time,
    };
    handler.run(&job, &context).await
}

const TIME: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_model_that_fails_four_chunks_is_left_alone_for_two_minutes_and_then_tried_again() {
    let model = Told::new(false);
    let breaker = Breaker::new("model", Policy::AI);
    let handler = one(model.clone(), breaker.clone());
    for chunk in 1..=10 {
        let output = answer(&handler, TIME).await;
        assert_eq!(output["model"]["fallback"], true, "chunk {chunk}");
        assert_eq!(output["posts"][0]["sentiment"]["label"], "positive", "the rules can read");
    }
    assert_eq!((model.asked(), breaker.state()), (4, State::Open), "after four failures nobody asks");

    let left = breaker.admit().expect_err("it is open").retry_after;
    assert!((Duration::from_secs(110)..=Duration::from_secs(120)).contains(&left), "{left:?}");

    model.well.store(true, Ordering::Relaxed);
    assert_eq!(answer(&handler, TIME).await["model"]["fallback"], true, "being well again is not known yet");
    assert_eq!(model.asked(), 4);
    // What the end of the two minutes does.
    breaker.record_success();
    let output = answer(&handler, TIME).await;
    assert_eq!(output["model"], json!({"name": "told", "version": "1", "fallback": false}));
    assert_eq!(breaker.state(), State::HalfOpen, "one good chunk is a beginning");
    for _ in 0..30 {
        assert_eq!(answer(&handler, TIME).await["model"]["fallback"], false);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn a_model_that_answers_again_must_first_answer_rightly() {
    let model = Told::new(false);
    let breaker = Breaker::new("model", Policy::AI);
    let handler = one(model.clone(), breaker.clone());
    for _ in 0..4 {
        answer(&handler, TIME).await;
    }
    model.well.store(true, Ordering::Relaxed);
    model.wrong.store(true, Ordering::Relaxed);
    breaker.record_success();
    assert_eq!(answer(&handler, TIME).await["model"]["fallback"], true, "it does not pass its check");
    assert_eq!((model.asked(), breaker.state()), (4, State::Open), "and no post was put to it");

    model.wrong.store(false, Ordering::Relaxed);
    breaker.record_success();
    assert_eq!(answer(&handler, TIME).await["model"]["fallback"], false);
}

#[tokio::test]
async fn a_model_that_does_not_answer_leaves_the_rules_time_to() {
    let handler = one(Told::new(true), Breaker::new("model", Policy::AI));
    let began = Instant::now();
    let time = Duration::from_millis(2500);
    assert_eq!(answer(&handler, time).await["model"]["fallback"], true);
    assert!(began.elapsed() < time);
}

#[tokio::test]
async fn a_chunk_that_wants_no_rules_waits_for_the_model() {
    let model = Told::new(false);
    let breaker = Breaker::new("model", Policy::AI);
    let handler = one(model.clone(), breaker.clone());
    let mut waits = Vec::new();
    for number in 1..=6 {
        let error = attempt(&handler, TIME, number, false).await.expect_err("no rules");
        assert_eq!((error.code.as_str(), error.permanent), ("model-away", false), "{error}");
        waits.push(error.retry_after_seconds.expect("a time"));
    }
    assert!(waits.is_sorted() && waits[0] == 300 && waits[5] == 28_800, "{waits:?}");
    model.well.store(true, Ordering::Relaxed);
    breaker.record_success();
    let outcome = attempt(&handler, TIME, 7, false).await.expect("the model is back");
    assert!(matches!(outcome, Outcome::Complete(output) if output["model"]["fallback"] == false));
}

/// Which version answers a tenant.
async fn version(handler: &AnalysePosts, tenant: u128) -> Value {
    match attempt_of(handler, TenantId(Uuid::from_u128(tenant)), TIME, 1, true).await {
        Ok(Outcome::Complete(output)) => output["model"]["version"].clone(),
        other => panic!("not complete: {other:?}"),
    }
}

#[tokio::test]
async fn a_candidate_answers_its_part_of_the_tenants_always_the_same_ones() {
    let well = |version: &str| {
        let model = Told::of_version(version, false);
        model.well.store(true, Ordering::Relaxed);
        Variant { model, breaker: Breaker::new("model", Policy::AI) }
    };
    let mut before: Vec<u128> = Vec::new();
    for percent in [0, 10, 40, 100] {
        let models = Variants::two(well("1"), well("2"), percent);
        let handler = AnalysePosts::new(models, Arc::new(Metrics::default()));
        let mut tried = Vec::new();
        for tenant in 0..200 {
            let first = version(&handler, tenant).await;
            assert_eq!(version(&handler, tenant).await, first);
            if first == "2" {
                tried.push(tenant);
            }
        }
        let share = tried.len() / 2;
        assert!(share.abs_diff(percent.into()) <= 8, "{share} % of the tenants, not {percent} %");
        assert!(before.iter().all(|tenant| tried.contains(tenant)), "who has the candidate keeps it as its part grows");
        before = tried;
    }
}

#[tokio::test]
async fn a_candidate_that_fails_or_hangs_is_stood_in_for_by_the_stable_model() {
    for stuck in [false, true] {
        let (stable, candidate) = (Told::of_version("1", false), Told::of_version("2", stuck));
        stable.well.store(true, Ordering::Relaxed);
        let breaker = Breaker::new("candidate-model", Policy::AI);
        let stable_variant = Variant { model: stable.clone(), breaker: Breaker::new("model", Policy::AI) };
        let models = Variants::two(stable_variant, Variant { model: candidate.clone(), breaker: breaker.clone() }, 100);
        let handler = AnalysePosts::new(models, Arc::new(Metrics::default()));
        let began = Instant::now();
        for _ in 0..6 {
            match attempt(&handler, Duration::from_secs(3), 1, true).await.expect("an answer") {
                Outcome::Complete(output) => {
                    assert_eq!(output["model"], json!({"name": "told", "version": "1", "fallback": false}));
                }
                other => panic!("not complete: {other:?}"),
            }
        }
        assert_eq!((candidate.asked(), breaker.state()), (4, State::Open), "its own breaker leaves it alone");
        assert!(began.elapsed() < Duration::from_secs(6));
    }
}
