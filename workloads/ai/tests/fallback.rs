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
    Analysis, ModelInfo, engine::Classify, handler::AnalysePosts, lexicon, metrics::Metrics, model::ModelError,
};
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    handler::{Claimed, Handler, Outcome, Progress, RunContext, Step},
    model::{JobId, TenantId},
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
        let info = ModelInfo { name: "told".to_owned(), version: "1".to_owned(), fallback: false };
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

struct Unheard;

impl Progress for Unheard {
    fn report(&self, _: u8, _: &str) {}
}

/// The answer to a chunk of one post, within `time`.
async fn answer(handler: &AnalysePosts, time: Duration) -> Value {
    let id = JobId::fresh();
    let job = Claimed {
        id,
        root: id,
        tenant: TenantId(Uuid::nil()),
        kind: Kind::Ai,
        lane: Lane::Normal,
        attempt: 1,
        username: "anna".to_owned(),
        input: json!({"posts": [{"id": "1", "text": "what a great day, I love it"}]}),
        step: Step::Start,
    };
    let context = RunContext {
        progress: Arc::new(Unheard),
        cancelled: CancellationToken::new(),
        deadline: Instant::now() + time,
    };
    match handler.run(&job, &context).await.expect("an answer in any case") {
        Outcome::Complete(output) => output,
        other => panic!("not complete: {other:?}"),
    }
}

const TIME: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_model_that_fails_four_chunks_is_left_alone_for_two_minutes_and_then_tried_again() {
    let model = Told::new(false);
    let breaker = Breaker::new("model", Policy::AI);
    let handler = AnalysePosts::new(model.clone(), breaker.clone(), Arc::new(Metrics::default()));
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
    breaker.heard();
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
    let handler = AnalysePosts::new(model.clone(), breaker.clone(), Arc::new(Metrics::default()));
    for _ in 0..4 {
        answer(&handler, TIME).await;
    }
    model.well.store(true, Ordering::Relaxed);
    model.wrong.store(true, Ordering::Relaxed);
    breaker.heard();
    assert_eq!(answer(&handler, TIME).await["model"]["fallback"], true, "it does not pass its check");
    assert_eq!((model.asked(), breaker.state()), (4, State::Open), "and no post was put to it");

    model.wrong.store(false, Ordering::Relaxed);
    breaker.heard();
    assert_eq!(answer(&handler, TIME).await["model"]["fallback"], false);
}

#[tokio::test]
async fn a_model_that_does_not_answer_leaves_the_rules_time_to() {
    let handler = AnalysePosts::new(Told::new(true), Breaker::new("model", Policy::AI), Arc::new(Metrics::default()));
    let began = Instant::now();
    let time = Duration::from_millis(2500);
    assert_eq!(answer(&handler, time).await["model"]["fallback"], true);
    assert!(began.elapsed() < time);
}
