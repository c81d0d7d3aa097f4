//! Runs ai jobs: classifies a chunk of posts, with rules as the fallback of the model.

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
    analysis::{Analysis, ModelInfo},
    lexicon,
    metrics::{AnsweredBy, Metrics},
    model::ModelError,
    variants::{Variant, Variants},
};

/// Most posts of one job. By default an analysis makes chunks of 5.
const MAX_POSTS: usize = 1_000;
/// Time before the attempt's deadline at which the model is given up, so that the rules can answer.
const FALLBACK_MARGIN: Duration = Duration::from_secs(2);
/// Seconds until the retry of a job without rules, by failed attempts. The job outlives an outage
/// of hours.
const RETRY_SECONDS: [u64; 4] = [300, 1_800, 7_200, 28_800];

/// The input of an ai job.
#[derive(Debug, Deserialize)]
struct Input {
    posts: Vec<Post>,
    /// Whether rules may answer if the model is unavailable.
    #[serde(default = "yes")]
    rules: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct Post {
    id: String,
    /// Missing and null count as empty.
    #[serde(default)]
    text: Option<String>,
}

/// The output of an ai job, in the order of its posts.
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

/// Runs ai jobs.
pub struct ClassificationHandler {
    models: Variants,
    metrics: Arc<Metrics>,
}

impl ClassificationHandler {
    pub fn new(models: Variants, metrics: Arc<Metrics>) -> Self {
        Self { models, metrics }
    }

    /// Classifies `texts` with the models of a tenant, early enough for the rules to answer after a
    /// failure. A candidate gets half of that time, so that the stable model can answer after it.
    async fn classify(
        &self,
        tenant: TenantId,
        texts: &[String],
        deadline: Instant,
    ) -> Result<(&Variant, Vec<Analysis>), CallError<ModelError>> {
        let latest = deadline.checked_sub(FALLBACK_MARGIN).unwrap_or(deadline);
        let mut variants = self.models.for_tenant(tenant).into_iter().peekable();
        loop {
            // The stable model is always the last one.
            let variant = variants.next().expect("a model");
            let left = latest.saturating_duration_since(Instant::now());
            let time = if variants.peek().is_some() { left / 2 } else { left };
            match classify(variant, texts, Instant::now() + time).await {
                Ok(analyses) => return Ok((variant, analyses)),
                Err(error) if variants.peek().is_none() => return Err(error),
                Err(CallError::Open(_)) => {}
                Err(CallError::Failed(error)) => {
                    tracing::error!(%error, "candidate failed, falling back to stable model");
                }
            }
        }
    }
}

/// Classifies `texts` with one model. While its breaker is half-open, the model must pass its probe
/// first: a response alone does not prove that it has recovered.
async fn classify(
    variant: &Variant,
    texts: &[String],
    latest: Instant,
) -> Result<Vec<Analysis>, CallError<ModelError>> {
    let recovering = variant.breaker.state() == State::HalfOpen;
    let classified = async {
        if recovering {
            variant.model.check().await?;
        }
        variant.model.classify(texts.to_vec()).await
    };
    let answer = async {
        let answer = timeout_at(latest.into(), classified).await;
        answer.unwrap_or_else(|_| Err(ModelError::Run("it did not answer within the attempt".to_owned())))
    };
    trace::within(trace::Kind::Internal, "model", variant.breaker.call(answer, |_| true)).await
}

#[async_trait::async_trait]
impl Handler for ClassificationHandler {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        let input = parse(&job.input)?;
        let began = Instant::now();
        let texts: Vec<String> = input.posts.iter().map(|post| post.text.clone().unwrap_or_default()).collect();
        let rules = lexicon::info();
        // One model answers the whole chunk, so that one name and version applies to it.
        let (by, model, analyses) = match self.classify(job.tenant, &texts, context.deadline).await {
            Ok((variant, analyses)) => {
                let by = if self.models.is_candidate(variant) { AnsweredBy::Candidate } else { AnsweredBy::Model };
                (by, variant.model.info(), analyses)
            }
            Err(error) => {
                if !input.rules {
                    return Err(model_unavailable(job.attempt, &error));
                }
                match error {
                    CallError::Open(_) => {
                        tracing::debug!(job = %job.id, "breaker of model is open, answering by rules");
                    }
                    CallError::Failed(error) => {
                        tracing::error!(job = %job.id, %error, "model failed, answering by rules");
                    }
                }
                (AnsweredBy::Rules, &rules, texts.iter().map(|text| lexicon::analyze(text)).collect())
            }
        };
        self.metrics.chunk(analyses.len(), began.elapsed(), by);
        let posts =
            input.posts.into_iter().zip(analyses).map(|(post, analysis)| Answer { id: post.id, analysis }).collect();
        serde_json::to_value(Output { model, posts })
            .map(Outcome::Complete)
            .map_err(|error| JobError::permanent("analysis-not-json", error.to_string()))
    }
}

fn model_unavailable(attempt: i32, error: &CallError<ModelError>) -> JobError {
    let failures = usize::try_from(attempt).unwrap_or(1).clamp(1, RETRY_SECONDS.len());
    JobError {
        retry_after_seconds: Some(RETRY_SECONDS[failures - 1]),
        ..JobError::transient(
            "model-away",
            format!("the model is unavailable, and the job does not accept rules: {error}"),
        )
    }
}

fn parse(input: &serde_json::Value) -> Result<Input, JobError> {
    let input = Input::deserialize(input)
        .map_err(|error| JobError::permanent("invalid-input", format!("not a chunk of posts: {error}")))?;
    if input.posts.len() > MAX_POSTS {
        let message = format!("{} posts in one job, the limit is {MAX_POSTS}: make chunks smaller", input.posts.len());
        return Err(JobError::permanent("invalid-input", message));
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chunk_accepts_posts_without_text() {
        let input =
            parse(&json!({"posts": [{"id": "1", "text": "hello"}, {"id": "2", "text": null}, {"id": "3"}]})).unwrap();
        assert_eq!(input.posts.iter().filter(|post| post.text.is_none()).count(), 2);
    }

    #[test]
    fn invalid_chunk_is_refused_permanently() {
        let many: Vec<_> = (0..=MAX_POSTS).map(|id| json!({"id": id.to_string()})).collect();
        for input in [json!({}), json!({"posts": [{"text": "no id"}]}), json!(null), json!({ "posts": many })] {
            assert!(parse(&input).unwrap_err().permanent, "{input}");
        }
    }
}
