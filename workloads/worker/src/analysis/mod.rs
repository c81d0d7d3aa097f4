//! The general worker: fetches a profile, fans out to child jobs and joins their outputs.

pub mod aggregate;
mod child_outputs;
mod correction;
mod fan_out;
mod result;
mod state;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize as _;
use serde_json::Value;
use switchyard_contract::Analysis;
use switchyard_jobs::{
    handler::{ClaimedJob, Handler, Outcome, RunContext, Step},
    model::JobError,
};

use self::{correction::correction_state, result::join, state::AnalysisState};
use crate::profile_fetcher::{FetchedProfile, ProfileFetcher, ProfileRequest};

/// Longest time that one attempt waits for the profile source, whatever the lane's timeout.
const MAX_FETCH_TIME: Duration = Duration::from_mins(4);
/// Time between the deadline of a fetch and that of the attempt. The source's own error is then
/// reported, not the lane's timeout.
const FETCH_MARGIN: Duration = Duration::from_secs(1);

/// When a result with fallback answers is corrected: when the model's open breaker probes again.
const CORRECT_AFTER: Duration = Duration::from_mins(2);

/// The profile source of the platform.
#[derive(Clone)]
pub enum Source {
    /// The platform has none.
    NotConfigured,
    /// The source's Secret has no token.
    WithoutToken,
    Apify(Arc<ProfileFetcher>),
}

/// Runs profile analyses.
pub struct AnalysisHandler {
    source: Source,
    settings: Analysis,
    max_attempts: u32,
}

impl AnalysisHandler {
    /// `max_attempts` is the number of attempts after which a job is dead.
    pub fn new(source: Source, settings: Analysis, max_attempts: u32) -> Self {
        Self { source, settings, max_attempts }
    }

    async fn fetch(&self, job: &ClaimedJob, deadline: Instant) -> Result<FetchedProfile, JobError> {
        match &self.source {
            Source::NotConfigured => Err(JobError::permanent(
                "profile-source-missing",
                "the platform has no profile source: set spec.profileSource of the AnalyticsPlatform",
            )),
            Source::WithoutToken => Err(JobError::permanent(
                "profile-source-token",
                "the Secret that spec.profileSource.secretRef names has no 'token'",
            )),
            Source::Apify(fetcher) => {
                let request = ProfileRequest {
                    username: &job.username,
                    tenant: job.tenant,
                    fresh: job.input["force_refresh"].as_bool().unwrap_or(false),
                    last_attempt: i64::from(job.attempt) >= i64::from(self.max_attempts),
                };
                Ok(fetcher.fetch(request, deadline).await?)
            }
        }
    }

    async fn start(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        context.progress.report(5, "fetching");
        let now = Instant::now();
        let deadline = context.deadline.checked_sub(FETCH_MARGIN).unwrap_or(now).min(now + MAX_FETCH_TIME);
        let fetched = self.fetch(job, deadline).await?;
        let children = fan_out::children(&fetched.scraped, &self.settings, may_discover(&job.input));
        tracing::info!(job = %job.id, posts = fetched.scraped.posts.len(), children = children.len(), "fetched profile");
        let state = AnalysisState::from(fetched);
        if children.is_empty() {
            return Ok(Outcome::Complete(to_json(&join(state, &[])?)?));
        }
        Ok(Outcome::Spawn { kept: to_json(&state)?, children, stage: "analysing" })
    }

    /// Starts a correction, which classifies all texts again and reuses the other outputs.
    fn correct(&self, job: &ClaimedJob) -> Result<Outcome, JobError> {
        let children = fan_out::correction_children(&parse_state(&job.input)?.fetched.scraped, &self.settings);
        Ok(Outcome::Spawn { kept: job.input.clone(), children, stage: "correcting" })
    }
}

#[async_trait::async_trait]
impl Handler for AnalysisHandler {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        match &job.step {
            Step::Start if job.corrects => self.correct(job),
            Step::Start => self.start(job, context).await,
            Step::Join { kept, children } => {
                context.progress.report(95, "joining");
                let state = parse_state(kept)?;
                // A correction is final: an older worker may answer by rules again, without end.
                let correction = if job.corrects { None } else { correction_state(&state, children)? };
                let output = to_json(&join(state, children)?)?;
                let Some(correction) = correction else { return Ok(Outcome::Complete(output)) };
                tracing::info!(job = %job.id, "scheduled correction of fallback result");
                Ok(Outcome::CompleteForNow { output, input: to_json(&correction)?, after: CORRECT_AFTER })
            }
        }
    }
}

fn parse_state(state: &Value) -> Result<AnalysisState, JobError> {
    AnalysisState::deserialize(state)
        .map_err(|error| JobError::permanent("analysis-incomplete", format!("the stored state is malformed: {error}")))
}

fn to_json(value: &impl serde::Serialize) -> Result<Value, JobError> {
    serde_json::to_value(value).map_err(|error| JobError::permanent("analysis-incomplete", error.to_string()))
}

/// Whether an analysis may queue further profiles: only if a caller requested it (depth 0).
fn may_discover(input: &Value) -> bool {
    input["depth"].as_u64().unwrap_or(0) == 0
}
