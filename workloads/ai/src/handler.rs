//! A chunk of posts as a job.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use switchyard_jobs::{
    handler::{ClaimedJob, Handler, Outcome, RunContext},
    model::{JobError, TenantId},
    resilience::{CallError, State},
    trace,
};
use tokio::time::timeout_at;

use crate::{
    Analysis, ModelInfo, lexicon,
    metrics::{By, Metrics},
    model::ModelError,
    variants::{Variant, Variants},
};

/// Posts that one job may hold; the analysis makes chunks of 5 unless it is told otherwise.
const MAX_POSTS: usize = 1_000;
/// What a model that does not answer leaves of the attempt's time, so that the rules answer in time.
const MARGIN: Duration = Duration::from_secs(2);
/// How long a job that wants the model and no rules waits after each failed attempt, in seconds: it is to outlive an outage of hours.
const PATIENCE: [u64; 4] = [300, 1_800, 7_200, 28_800];

/// What an ai job is made with.
#[derive(Debug, Deserialize)]
struct Input {
    posts: Vec<Post>,
    /// Whether rules may stand in for the model.
    #[serde(default = "yes")]
    rules: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct Post {
    id: String,
    /// Absent and null are empty.
    #[serde(default)]
    text: Option<String>,
}

/// What it completes with, in the order of its posts.
#[derive(Debug, Serialize)]
struct Output<'a> {
    model: &'a ModelInfo,
    posts: Vec<Answer>,
}

#[derive(Debug, Serialize)]
struct Answer {
    id: String,
    #[serde(flatten)]
    analysis: Analysis,
}

/// Analyses chunks of posts: with a model, and by rules while that fails.
pub struct AnalysePosts {
    models: Variants,
    metrics: Arc<Metrics>,
}

impl AnalysePosts {
    pub fn new(models: Variants, metrics: Arc<Metrics>) -> Self {
        Self { models, metrics }
    }

    /// What a tenant's model says of `texts`, in time for the rules to answer in its stead. A candidate has half of that time, so that the stable one can.
    async fn ask(
        &self,
        tenant: TenantId,
        texts: &[String],
        deadline: Instant,
    ) -> Result<(&Variant, Vec<Analysis>), CallError<ModelError>> {
        let latest = deadline.checked_sub(MARGIN).unwrap_or(deadline);
        let mut asked = self.models.of(tenant).into_iter().peekable();
        loop {
            // There is always a stable one, and it is the last.
            let variant = asked.next().expect("a model");
            let left = latest.saturating_duration_since(Instant::now());
            let time = if asked.peek().is_some() { left / 2 } else { left };
            match ask(variant, texts, Instant::now() + time).await {
                Ok(analyses) => return Ok((variant, analyses)),
                Err(error) if asked.peek().is_none() => return Err(error),
                Err(CallError::Open(_)) => {}
                Err(CallError::Failed(error)) => {
                    tracing::error!(%error, "the candidate failed; asking the stable model")
                }
            }
        }
    }
}

/// While a model is being tried again after failures, it must first give the right answer to a text whose answer is known: that it answers at all is not
/// enough.
async fn ask(variant: &Variant, texts: &[String], latest: Instant) -> Result<Vec<Analysis>, CallError<ModelError>> {
    let recovering = variant.breaker.state() == State::HalfOpen;
    let asked = async {
        if recovering {
            variant.model.check().await?;
        }
        variant.model.classify(texts.to_vec()).await
    };
    let answer = async {
        let answer = timeout_at(latest.into(), asked).await;
        answer.unwrap_or_else(|_| Err(ModelError::Run("it did not answer in the attempt's time".to_owned())))
    };
    trace::within(trace::Kind::Internal, "model", variant.breaker.call(answer, |_| true)).await
}

#[async_trait::async_trait]
impl Handler for AnalysePosts {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        let input = parse(&job.input)?;
        let begun = Instant::now();
        let texts: Vec<String> = input.posts.iter().map(|post| post.text.clone().unwrap_or_default()).collect();
        let rules = lexicon::info();
        // A chunk is answered by one of them as a whole, so that one name and version is true of it.
        let (by, model, analyses) = match self.ask(job.tenant, &texts, context.deadline).await {
            Ok((variant, analyses)) => {
                let by = if self.models.is_candidate(variant) { By::Candidate } else { By::Model };
                (by, variant.model.info(), analyses)
            }
            Err(error) => {
                if !input.rules {
                    return Err(model_away(job.attempt, &error));
                }
                match error {
                    CallError::Open(_) => tracing::debug!(job = %job.id, "the model is left alone; answering by rules"),
                    CallError::Failed(error) => {
                        tracing::error!(job = %job.id, %error, "the model failed; answering by rules");
                    }
                }
                (By::Rules, &rules, texts.iter().map(|text| lexicon::analyze(text)).collect())
            }
        };
        self.metrics.chunk(analyses.len(), begun.elapsed(), by);
        let posts =
            input.posts.into_iter().zip(analyses).map(|(post, analysis)| Answer { id: post.id, analysis }).collect();
        serde_json::to_value(Output { model, posts })
            .map(Outcome::Complete)
            .map_err(|error| JobError::permanent("analysis-not-json", error.to_string()))
    }
}

fn model_away(attempt: i32, error: &CallError<ModelError>) -> JobError {
    let times = usize::try_from(attempt).unwrap_or(1).clamp(1, PATIENCE.len());
    JobError {
        retry_after_seconds: Some(PATIENCE[times - 1]),
        ..JobError::transient("model-away", format!("the job wants the model and no rules: {error}"))
    }
}

fn parse(input: &serde_json::Value) -> Result<Input, JobError> {
    let input = Input::deserialize(input)
        .map_err(|error| JobError::permanent("invalid-input", format!("not a chunk of posts: {error}")))?;
    if input.posts.len() > MAX_POSTS {
        let message =
            format!("{} posts in one job, where {MAX_POSTS} are the most: make chunks smaller", input.posts.len());
        return Err(JobError::permanent("invalid-input", message));
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chunk_holds_posts_and_some_have_no_text() {
        let input =
            parse(&json!({"posts": [{"id": "1", "text": "hello"}, {"id": "2", "text": null}, {"id": "3"}]})).unwrap();
        assert_eq!(input.posts.iter().filter(|post| post.text.is_none()).count(), 2);
    }

    #[test]
    fn what_is_no_chunk_is_refused_for_good() {
        let many: Vec<_> = (0..=MAX_POSTS).map(|id| json!({"id": id.to_string()})).collect();
        for input in [json!({}), json!({"posts": [{"text": "no id"}]}), json!(null), json!({ "posts": many })] {
            assert!(parse(&input).unwrap_err().permanent, "{input}");
        }
    }
}
