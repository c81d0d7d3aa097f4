//! The general worker: fetches a profile, fans out, joins what comes back.

pub mod aggregate;
mod join;
mod plan;

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

use self::join::Kept;
use crate::profiles::{Found, Profiles, Wanted};

/// The longest that one attempt waits for the profile source, whatever the lane allows.
const LONGEST_FETCH: Duration = Duration::from_secs(240);
/// What the client leaves of the lane's time, so that its own error is reported rather than the lane's timeout.
const MARGIN: Duration = Duration::from_secs(1);

/// When an analysis that rules had a part in is corrected: the model is left alone for as long after it failed.
const CORRECT_AFTER: Duration = Duration::from_secs(120);

/// Where profiles come from.
#[derive(Clone)]
pub enum Source {
    /// The platform names none.
    Missing,
    /// It names one, and its Secret holds no token.
    WithoutToken,
    Apify(Arc<Profiles>),
}

/// Runs profile analyses.
pub struct Analyse {
    source: Source,
    settings: Analysis,
    /// Attempts that a job has.
    attempts: u32,
}

impl Analyse {
    /// `attempts` is how many a job has before it is dead.
    pub fn new(source: Source, settings: Analysis, attempts: u32) -> Self {
        Self { source, settings, attempts }
    }

    async fn find(&self, job: &ClaimedJob, deadline: Instant) -> Result<Found, JobError> {
        match &self.source {
            Source::Missing => Err(JobError::permanent(
                "profile-source-missing",
                "the platform has no profile source: set spec.profileSource of the AnalyticsPlatform",
            )),
            Source::WithoutToken => Err(JobError::permanent(
                "profile-source-token",
                "the Secret that spec.profileSource.secretRef names has no 'token'",
            )),
            Source::Apify(profiles) => {
                let wanted = Wanted {
                    username: &job.username,
                    tenant: job.tenant,
                    fresh: job.input["force_refresh"].as_bool().unwrap_or(false),
                    last_attempt: i64::from(job.attempt) >= i64::from(self.attempts),
                };
                Ok(profiles.find(wanted, deadline).await?)
            }
        }
    }

    async fn start(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        context.progress.report(5, "fetching");
        let deadline = (context.deadline - MARGIN).min(Instant::now() + LONGEST_FETCH);
        let found = self.find(job, deadline).await?;
        let children = plan::children(&found.scraped, &self.settings, may_discover(&job.input));
        tracing::info!(job = %job.id, posts = found.scraped.posts.len(), children = children.len(), "profile fetched");
        let kept = Kept::from(found);
        if children.is_empty() {
            return Ok(Outcome::Complete(document(&join::join(kept, &[])?)?));
        }
        Ok(Outcome::Spawn { kept: document(&kept)?, children, stage: "analysing" })
    }

    /// Has the model read the texts that rules answered for.
    fn correct(&self, job: &ClaimedJob) -> Result<Outcome, JobError> {
        let children = plan::once_more(&read(&job.input)?.found.scraped, &self.settings);
        Ok(Outcome::Spawn { kept: job.input.clone(), children, stage: "correcting" })
    }
}

#[async_trait::async_trait]
impl Handler for Analyse {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        match &job.step {
            Step::Start if job.corrects => self.correct(job),
            Step::Start => self.start(job, context).await,
            Step::Join { kept, children } => {
                context.progress.report(95, "joining");
                let kept = read(kept)?;
                let to_correct = if job.corrects { None } else { join::to_correct(&kept, children)? };
                let output = document(&join::join(kept, children)?)?;
                let Some(to_correct) = to_correct else { return Ok(Outcome::Complete(output)) };
                tracing::info!(job = %job.id, "rules had a part in the result: it is to be corrected");
                Ok(Outcome::CompleteForNow { output, input: document(&to_correct)?, after: CORRECT_AFTER })
            }
        }
    }
}

fn read(kept: &Value) -> Result<Kept, JobError> {
    Kept::deserialize(kept)
        .map_err(|error| JobError::permanent("analysis-incomplete", format!("what was kept is odd: {error}")))
}

fn document(value: &impl serde::Serialize) -> Result<Value, JobError> {
    serde_json::to_value(value).map_err(|error| JobError::permanent("analysis-incomplete", error.to_string()))
}

/// Analyses that callers asked for are at depth 0; what discovery queued does not discover further.
fn may_discover(input: &Value) -> bool {
    input["depth"].as_u64().unwrap_or(0) == 0
}
