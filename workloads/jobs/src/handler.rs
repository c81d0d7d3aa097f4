//! What a worker binary supplies: the work itself.
//!
//! The runner claims a job, acknowledges its message, keeps the lease alive and writes the outcome with the run token; a [`Handler`] sees none
//! of that. It may be called again for the same job after a crash, so what it does outside the database must be safe to repeat.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use switchyard_contract::{Kind, Lane};
use tokio_util::sync::CancellationToken;

use crate::model::{JobError, JobId, TenantId};

/// A job in a worker's hands.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub id: JobId,
    /// The analysis that this job belongs to; its own id for an analysis itself.
    pub root: JobId,
    pub tenant: TenantId,
    pub kind: Kind,
    pub lane: Lane,
    /// Counts from 1.
    pub attempt: i32,
    /// The profile that the analysis is about.
    pub username: String,
    /// What the job was made with: the request of an analysis, or a child's input.
    pub input: Value,
    /// Whether what it completes with takes the place of the analysis' result: made by [`Outcome::CompleteForNow`].
    pub corrects: bool,
    pub step: Step,
}

/// Which half of its life a job is in.
#[derive(Debug, Clone)]
pub enum Step {
    /// From the beginning.
    Start,
    /// All children have ended.
    Join {
        /// What [`Outcome::Spawn`] kept.
        kept: Value,
        /// In the order in which they were spawned.
        children: Vec<ChildResult>,
    },
}

/// How a child ended.
#[derive(Debug, Clone)]
pub struct ChildResult {
    pub kind: Kind,
    pub input: Value,
    /// What it completed with, or why it died.
    pub result: Result<Value, JobError>,
}

/// A job to be spawned under another one; it runs in its parent's lane, with its parent's credits.
#[derive(Debug, Clone)]
pub struct Child {
    pub kind: Kind,
    pub input: Value,
    /// Whether its death is its parent's death.
    pub required: bool,
}

/// What an attempt came to.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Done; for an analysis the value is its result.
    Complete(Value),
    /// Done, and these profiles are to be analysed on the low lane, as far as the tenant's quota allows.
    CompleteAndDiscover { output: Value, usernames: Vec<String> },
    /// An analysis that is done with a result that is to be made better: a correction, which runs after `after` on the low lane with `input`, free of
    /// charge. What that completes with takes the result's place; if it dies, the result stays.
    CompleteForNow { output: Value, input: Value, after: Duration },
    /// Wait for `children`, then run again as [`Step::Join`] with `kept`.
    Spawn {
        kept: Value,
        children: Vec<Child>,
        /// What watchers are told meanwhile, for instance `analysing`.
        stage: &'static str,
    },
}

/// Tells watchers how far a job is. Cheap: reports are merged and written by the runner, the last one wins.
pub trait Progress: Send + Sync {
    /// `percent` is cut to 0..=99; 100 is completion.
    fn report(&self, percent: u8, stage: &str);
}

/// What an attempt runs with.
#[derive(Clone)]
pub struct RunContext {
    pub progress: Arc<dyn Progress>,
    /// Fires when the job was cancelled, its lease was lost, or its lane's timeout has passed. The runner drops the handler's future as well.
    pub cancelled: CancellationToken,
    /// When the lane's timeout ends this attempt.
    pub deadline: Instant,
}

/// The work of one worker kind.
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. Dropping the future must stop the work soon.
    async fn run(&self, job: &Claimed, context: &RunContext) -> Result<Outcome, JobError>;
}
