//! What the relay, the reaper and retention read and write.

use std::time::Duration;

use serde::Deserialize;
use tokio_postgres::types::{Json, Type};

use super::{claim::DEFAULT_LEASE, connect::Store, error::StoreError, outcome::FailOutcome, run_key::RunKey};
use crate::model::{JobError, Queue};

/// How long finished data is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Events of finished analyses.
    pub events: Duration,
    /// Idempotency keys.
    pub idempotency: Duration,
    /// Finished analyses with their children and results. The ledger is kept for ever.
    pub jobs: Duration,
}

impl Default for Retention {
    /// Events 3 days, idempotency keys 24 hours, jobs 30 days.
    fn default() -> Self {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        Self { events: hours(72), idempotency: hours(24), jobs: hours(30 * 24) }
    }
}

/// Rows that one round of retention removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Removed {
    pub events: i64,
    pub idempotency: i64,
    pub jobs: i64,
}

/// What became of an attempt whose lease expired.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reaped {
    #[serde(flatten)]
    pub outcome: FailOutcome,
    /// Whether the job is dead because it crashes its workers.
    #[serde(default)]
    pub quarantined: bool,
}

impl Store {
    /// Queues whose jobs have been claimable for `min_age`, with the number of such jobs: at most
    /// 1000, and at most what the lane may still run. The relay publishes tickets for them if the
    /// broker has none.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn claimable_queues(&self, min_age: Duration) -> Result<Vec<(Queue, u32)>, StoreError> {
        self.database
            .essential()
            .many(
                include_str!("../../sql/claimable_queues.sql"),
                &[(&Json(&self.database.policy.lanes), Type::JSONB), (&min_age.as_secs_f64(), Type::FLOAT8)],
            )
            .await
    }

    /// Claims whose lease has expired, the oldest first, `limit` at most.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn expired(&self, limit: u32) -> Result<Vec<RunKey>, StoreError> {
        self.database.essential().many(include_str!("../../sql/expired.sql"), &[(&i64::from(limit), Type::INT8)]).await
    }

    /// Ends an attempt whose lease has expired; stale if the lease was extended meanwhile. With
    /// `quarantine_jobs`, a job that crashed two workers in a row dies at once, unless another job
    /// may be the cause.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn reap(&self, run_key: RunKey, quarantine_jobs: bool) -> Result<Reaped, StoreError> {
        let retry = &self.database.policy.retry;
        let delays: Vec<f64> = retry.delays_seconds.iter().map(|s| *s as f64).collect();
        let error = JobError::transient("lease-expired", "the worker that ran this attempt went silent");
        self.database
            .essential()
            .one(
                include_str!("../../sql/reap.sql"),
                &[
                    (&run_key.job.0, Type::UUID),
                    (&run_key.token.0, Type::INT8),
                    (&Json(error), Type::JSONB),
                    (&delays, Type::FLOAT8_ARRAY),
                    (&i32::try_from(retry.attempts()).unwrap_or(i32::MAX), Type::INT4),
                    (&DEFAULT_LEASE.as_secs_f64(), Type::FLOAT8),
                    (&quarantine_jobs, Type::BOOL),
                ],
            )
            .await
    }

    /// Removes data past its retention, `limit` rows of each kind at most. A round that removes
    /// nothing is the last one.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn retain(&self, retention: &Retention, limit: u32) -> Result<Removed, StoreError> {
        self.database
            .essential()
            .one(
                include_str!("../../sql/retain.sql"),
                &[
                    (&retention.events.as_secs_f64(), Type::FLOAT8),
                    (&retention.idempotency.as_secs_f64(), Type::FLOAT8),
                    (&retention.jobs.as_secs_f64(), Type::FLOAT8),
                    (&i64::from(limit), Type::INT8),
                ],
            )
            .await
    }
}
