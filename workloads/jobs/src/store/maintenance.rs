use std::time::Duration;

use serde::Deserialize;
use tokio_postgres::types::{Json, Type};

use super::{FailOutcome, Held, Store, StoreError};
use crate::{
    model::{JobError, JobId, Queue, RunToken},
    runner::Timing,
};

/// How long ended things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Events of ended analyses.
    pub events: Duration,
    /// Idempotency keys.
    pub idempotency: Duration,
    /// Ended analyses with their children and results. The ledger is kept for ever.
    pub jobs: Duration,
}

impl Default for Kept {
    /// Events 3 days, idempotency keys 24 h, jobs 30 days.
    fn default() -> Self {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        Self { events: hours(72), idempotency: hours(24), jobs: hours(30 * 24) }
    }
}

/// What one round of retention took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Removed {
    pub events: i64,
    pub idempotency: i64,
    pub jobs: i64,
}

/// What became of an attempt whose worker went silent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reaped {
    #[serde(flatten)]
    pub outcome: FailOutcome,
    /// Whether the job is dead because it takes workers down.
    #[serde(default)]
    pub quarantined: bool,
}

impl Store {
    /// Queues with jobs that could be claimed and have been there for `min_age`, each with how many there are: a thousand at most, and no more than the lane
    /// has places for. Whoever finds no ticket of such a queue in the broker publishes some.
    pub async fn owed(&self, min_age: Duration) -> Result<Vec<(Queue, u32)>, StoreError> {
        self.essential()
            .many(
                include_str!("../../sql/owed.sql"),
                &[(&Json(&self.policy.lanes), Type::JSONB), (&min_age.as_secs_f64(), Type::FLOAT8)],
            )
            .await
    }

    /// Running jobs whose lease has run out, `limit` at most.
    pub async fn expired(&self, limit: u32) -> Result<Vec<Held>, StoreError> {
        #[derive(Deserialize)]
        struct Row {
            job: JobId,
            token: RunToken,
        }
        let rows: Vec<Row> =
            self.essential().many(include_str!("../../sql/expired.sql"), &[(&i64::from(limit), Type::INT8)]).await?;
        Ok(rows.into_iter().map(|row| Held { job: row.job, token: row.token }).collect())
    }

    /// Ends an attempt whose worker went silent; stale when the worker has been heard of since. With `quarantine_jobs` a job that two workers in a row ended
    /// in the middle of is dead at once, where nothing else can be to blame.
    pub async fn reap(&self, held: Held, quarantine_jobs: bool) -> Result<Reaped, StoreError> {
        let delays: Vec<f64> = self.policy.retry.delays_seconds.iter().map(|s| *s as f64).collect();
        let error = JobError::transient("lease-expired", "the worker that ran this attempt went silent");
        self.essential()
            .one(
                include_str!("../../sql/reap.sql"),
                &[
                    (&held.job.0, Type::UUID),
                    (&held.token.0, Type::INT8),
                    (&Json(error), Type::JSONB),
                    (&delays, Type::FLOAT8_ARRAY),
                    (&i32::try_from(self.policy.retry.attempts()).unwrap_or(i32::MAX), Type::INT4),
                    (&Timing::default().lease.as_secs_f64(), Type::FLOAT8),
                    (&quarantine_jobs, Type::BOOL),
                ],
            )
            .await
    }

    /// Removes what has been kept long enough, some at a time; a round that removes nothing is done.
    pub async fn retain(&self, kept: &Kept, limit: u32) -> Result<Removed, StoreError> {
        self.essential()
            .one(
                include_str!("../../sql/retain.sql"),
                &[
                    (&kept.events.as_secs_f64(), Type::FLOAT8),
                    (&kept.idempotency.as_secs_f64(), Type::FLOAT8),
                    (&kept.jobs.as_secs_f64(), Type::FLOAT8),
                    (&i64::from(limit), Type::INT8),
                ],
            )
            .await
    }
}
