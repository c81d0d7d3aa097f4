//! What a worker binary implements: the work itself.
//!
//! The runner claims a job, acknowledges its ticket, extends the lease and writes the outcome with
//! the fencing token. A [`Handler`] sees none of that. It may be called again for the same job
//! after a crash, so its effects outside of the database must be idempotent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use switchyard_contract::{Kind, Lane};
use tokio_util::sync::CancellationToken;

use crate::model::{JobError, JobId, TenantId};

/// A job that this worker has claimed.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    pub id: JobId,
    /// The analysis that this job belongs to; the job's own id if it is an analysis.
    pub root: JobId,
    pub tenant: TenantId,
    pub kind: Kind,
    pub lane: Lane,
    /// Number of this attempt, from 1.
    pub attempt: i32,
    /// The profile to analyse.
    pub username: String,
    /// The request of an analysis, or the input of a child.
    pub input: Value,
    /// Whether the job is a correction, see [`Outcome::CompleteForNow`]: its output replaces the
    /// result of the analysis.
    pub corrects: bool,
    pub step: Step,
}

impl ClaimedJob {
    /// Whether the job is an analysis rather than a child of one.
    pub fn is_analysis(&self) -> bool {
        self.id == self.root
    }
}

/// The half of a job that is to run.
#[derive(Debug, Clone)]
pub enum Step {
    /// The job has not spawned children yet.
    Start,
    /// All children have ended.
    Join {
        /// The value that [`Outcome::Spawn`] kept.
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
    /// The child's output, or the error that it died of.
    pub result: Result<Value, JobError>,
}

/// A child to spawn. It runs in its parent's lane and costs nothing.
#[derive(Debug, Clone)]
pub struct Child {
    pub kind: Kind,
    pub input: Value,
    /// Whether its death ends its parent as well.
    pub required: bool,
}

/// What a successful attempt returns.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The job is complete. For an analysis the value is its result.
    Complete(Value),
    /// The job is complete. The profiles `usernames` are to be analysed on the low lane, within the
    /// tenant's limits.
    CompleteAndDiscover { output: Value, usernames: Vec<String> },
    /// The analysis is complete for now, with a result that a correction will replace. The
    /// correction runs after `after` on the low lane with `input`, free of charge. If it dies, the
    /// result stays.
    CompleteForNow { output: Value, input: Value, after: Duration },
    /// The job waits for `children`, then runs again as [`Step::Join`] with `kept`.
    Spawn {
        kept: Value,
        children: Vec<Child>,
        /// The stage that watchers see meanwhile, for instance `analysing`.
        stage: &'static str,
    },
}

/// Reports a job's progress to its watchers. Cheap: the runner batches reports, and the last one of
/// a job wins.
pub trait Progress: Send + Sync {
    /// Reports `percent` (clamped to 0..=99: 100 is completion) and the current stage.
    fn report(&self, percent: u8, stage: &str);
}

/// What an attempt runs with.
#[derive(Clone)]
pub struct RunContext {
    pub progress: Arc<dyn Progress>,
    /// Cancelled when the job is cancelled, its lease is lost, or its lane's timeout has passed.
    /// The runner then drops the handler's future as well.
    pub cancelled: CancellationToken,
    /// When the lane's timeout ends this attempt.
    pub deadline: Instant,
}

/// The work of one worker kind. See the [crate's example](crate).
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. Dropping the future must stop the work soon.
    ///
    /// # Errors
    /// A [`JobError`] ends the attempt: the job is retried, or dies if the error is permanent.
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError>;
}
