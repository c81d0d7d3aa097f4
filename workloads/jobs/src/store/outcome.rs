//! How an attempt ends: completion, children, failure, or release.
//!
//! Every write needs the claim's [`RunKey`]. With a stale token it writes nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_postgres::types::{Json, Type};

use super::{
    completion::{self, Completion, storable},
    connect::Store,
    error::StoreError,
    run_key::RunKey,
};
use crate::{
    handler::Child,
    model::{Effects, JobError, JobId},
    trace,
};

/// What became of a failed attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FailOutcome {
    /// The token is stale: the job has ended or another worker has claimed it. Nothing was written.
    Stale,
    Retrying {
        run_at: DateTime<Utc>,
        effects: Effects,
    },
    Dead {
        effects: Effects,
    },
}

impl Store {
    /// Creates `children` and makes the job wait for them. Without children the job is claimable
    /// again at once. `None` if the token is stale.
    ///
    /// # Errors
    /// Any [`StoreError`]. [`StoreError::Refused`] if the job has spawned before.
    pub async fn spawn(
        &self,
        run_key: RunKey,
        kept: &Value,
        children: &[Child],
        stage: &str,
    ) -> Result<Option<Effects>, StoreError> {
        let children: Vec<Value> = children
            .iter()
            .map(|child| json!({ "id": JobId::fresh(), "kind": child.kind, "input": storable(&child.input), "required": child.required }))
            .collect();
        self.database
            .essential()
            .optional(
                include_str!("../../sql/spawn.sql"),
                &[
                    (&run_key.job.0, Type::UUID),
                    (&run_key.token.0, Type::INT8),
                    (&Json(storable(kept)), Type::JSONB),
                    (&Json(children), Type::JSONB),
                    (&stage, Type::TEXT),
                    (&Json(&self.database.policy.lanes), Type::JSONB),
                    (&trace::current().map(|context| context.to_string()), Type::TEXT),
                ],
            )
            .await
    }

    /// Completes an analysis, in one round trip with those that complete at the same time. `None`
    /// if the token is stale.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn complete_analysis(&self, run_key: RunKey, output: &Value) -> Result<Option<Effects>, StoreError> {
        self.completions.call(Completion { run_key, output: storable(output) }).await
    }

    /// Completes a job of any kind. `None` if the token is stale.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn complete(&self, run_key: RunKey, output: &Value) -> Result<Option<Effects>, StoreError> {
        self.complete_and_discover(run_key, output, &[]).await
    }

    /// Completes a job, and queues analyses of `usernames` on the low lane within the tenant's
    /// daily and concurrent limits and the lane's capacity. Profiles that the tenant has analysed
    /// within a day, or has in progress, are left out. Discovered analyses are free of charge and
    /// do not count as running analyses of the tenant. `None` if the token is stale.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn complete_and_discover(
        &self,
        run_key: RunKey,
        output: &Value,
        usernames: &[String],
    ) -> Result<Option<Effects>, StoreError> {
        completion::complete(&self.database, run_key, output, usernames).await
    }

    /// Completes an analysis for now. A correction with `input` can be claimed on the low lane
    /// after `after`. Its output replaces `output` for everyone who shares the analysis. `None` if
    /// the token is stale.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn complete_for_now(
        &self,
        run_key: RunKey,
        output: &Value,
        input: &Value,
        after: Duration,
    ) -> Result<Option<Effects>, StoreError> {
        self.database
            .essential()
            .optional(
                include_str!("../../sql/complete_for_now.sql"),
                &[
                    (&run_key.job.0, Type::UUID),
                    (&run_key.token.0, Type::INT8),
                    (&Json(storable(output)), Type::JSONB),
                    (&JobId::fresh().0, Type::UUID),
                    (&Json(storable(input)), Type::JSONB),
                    (&after.as_secs_f64(), Type::FLOAT8),
                ],
            )
            .await
    }

    /// Ends an attempt with an error. The job is retried later, or it dies: credits are refunded,
    /// its children cancelled, its parent notified.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn fail(&self, run_key: RunKey, error: &JobError) -> Result<FailOutcome, StoreError> {
        let retry = &self.database.policy.retry;
        let delays: Vec<f64> = retry.delays_seconds.iter().map(|s| *s as f64).collect();
        self.database
            .essential()
            .one(
                include_str!("../../sql/fail.sql"),
                &[
                    (&run_key.job.0, Type::UUID),
                    (&run_key.token.0, Type::INT8),
                    (&Json(storable(&json!(error))), Type::JSONB),
                    (&delays, Type::FLOAT8_ARRAY),
                    (&i32::try_from(retry.attempts()).unwrap_or(i32::MAX), Type::INT4),
                ],
            )
            .await
    }

    /// Releases a job for another worker. The attempt does not count. `None` if the token is stale.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn release(&self, run_key: RunKey) -> Result<Option<Effects>, StoreError> {
        self.database
            .essential()
            .optional(
                include_str!("../../sql/release.sql"),
                &[(&run_key.job.0, Type::UUID), (&run_key.token.0, Type::INT8)],
            )
            .await
    }
}
