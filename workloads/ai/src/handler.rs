//! A chunk of posts as a job.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use switchyard_jobs::{
    handler::{Claimed, Handler, Outcome, RunContext},
    model::JobError,
    resilience::{Breaker, Broken, breaker::State},
};
use tokio::time::timeout_at;

use crate::{Analysis, ModelInfo, engine::Classify, lexicon, metrics::Metrics, model::ModelError};

/// Posts that one job may hold; the analysis makes chunks of 5 unless it is told otherwise.
const MAX_POSTS: usize = 1_000;
/// What a model that does not answer leaves of the attempt's time, so that the rules answer in time.
const MARGIN: Duration = Duration::from_secs(2);

/// What an ai job is made with.
#[derive(Debug, Deserialize)]
struct Input {
    posts: Vec<Post>,
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

/// Analyses chunks of posts: with the model, and by rules while that fails.
pub struct AnalysePosts {
    model: Arc<dyn Classify>,
    /// Leaves a model alone that failed several chunks in a row.
    breaker: Breaker,
    metrics: Arc<Metrics>,
}

impl AnalysePosts {
    pub fn new(model: Arc<dyn Classify>, breaker: Breaker, metrics: Arc<Metrics>) -> Self {
        Self { model, breaker, metrics }
    }

    /// What the model says of `texts`, in time for the rules to answer in its stead. While it is being tried again after failures, it must first give
    /// the right answer to a text whose answer is known: that it answers at all is not enough.
    async fn ask(&self, texts: Vec<String>, deadline: Instant) -> Result<Vec<Analysis>, Broken<ModelError>> {
        let latest = deadline.checked_sub(MARGIN).unwrap_or(deadline);
        let recovering = self.breaker.state() == State::HalfOpen;
        let asked = async {
            if recovering {
                self.model.check().await?;
            }
            self.model.classify(texts).await
        };
        let answer = async {
            let answer = timeout_at(latest.into(), asked).await;
            answer.unwrap_or_else(|_| Err(ModelError::Run("it did not answer in the attempt's time".to_owned())))
        };
        self.breaker.call(answer, |_| true).await
    }
}

#[async_trait::async_trait]
impl Handler for AnalysePosts {
    async fn run(&self, job: &Claimed, context: &RunContext) -> Result<Outcome, JobError> {
        let input = parse(&job.input)?;
        let begun = Instant::now();
        let texts: Vec<String> = input.posts.iter().map(|post| post.text.clone().unwrap_or_default()).collect();
        let rules = lexicon::info();
        // A chunk is answered by one of the two as a whole, so that one name and version is true of it.
        let (model, analyses) = match self.ask(texts, context.deadline).await {
            Ok(analyses) => (self.model.info(), analyses),
            Err(error) => {
                match error {
                    Broken::Open(_) => tracing::debug!(job = %job.id, "the model is left alone; answering by rules"),
                    Broken::Failed(error) => {
                        tracing::error!(job = %job.id, %error, "the model failed; answering by rules");
                    }
                }
                let post = |post: &Post| lexicon::analyze(post.text.as_deref().unwrap_or_default());
                (&rules, input.posts.iter().map(post).collect())
            }
        };
        self.metrics.chunk(analyses.len(), begun.elapsed(), model.fallback);
        let posts =
            input.posts.into_iter().zip(analyses).map(|(post, analysis)| Answer { id: post.id, analysis }).collect();
        serde_json::to_value(Output { model, posts })
            .map(Outcome::Complete)
            .map_err(|error| JobError::permanent("analysis-not-json", error.to_string()))
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
