//! Completions of analyses, one round trip for a batch of them.

use std::{collections::HashMap, convert::Infallible};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::types::{Json, Type};

use super::{
    batcher::{Batch, Batcher, Limits, Request},
    database::Database,
    error::StoreError,
    run_key::{RunKey, columns},
};
use crate::model::{Effects, JobId};

/// Two batches may be in flight: they lock different analyses, and their tenants only briefly.
const LIMITS: Limits = Limits { max_batch: 256, max_in_flight: 2, max_pending: usize::MAX };

/// An analysis to be completed.
pub(super) struct Completion {
    pub run_key: RunKey,
    /// Already [`storable`].
    pub output: Value,
}

impl Request for Completion {
    type ConflictKey = Infallible;

    fn conflict_key(&self) -> Option<Infallible> {
        None
    }
}

/// Batches the completions of this process. The answer is `None` if the token is stale.
pub(super) type Completions = Batcher<Completion, Option<Effects>>;

pub(super) fn batcher(database: Database) -> Completions {
    Batcher::new(LIMITS, move |batch| {
        let database = database.clone();
        async move { complete_batch(&database, batch).await }
    })
}

/// An analysis that the statement completed.
#[derive(Deserialize)]
struct Completed {
    job: JobId,
    effects: Effects,
}

async fn complete_batch(
    database: &Database,
    batch: Batch<Completion, Option<Effects>>,
) -> Batch<Completion, Option<Effects>> {
    let (jobs, tokens) = columns(batch.iter().map(|call| &call.request.run_key));
    let outputs: Vec<Json<&Value>> = batch.iter().map(|call| Json(&call.request.output)).collect();
    let completed: Result<Vec<Completed>, StoreError> = database
        .essential()
        .many(
            include_str!("../../sql/complete_many.sql"),
            &[(&jobs, Type::UUID_ARRAY), (&tokens, Type::INT8_ARRAY), (&outputs, Type::JSONB_ARRAY)],
        )
        .await;
    drop(outputs);
    match completed {
        Ok(completed) => {
            let mut effects: HashMap<JobId, Effects> =
                completed.into_iter().map(|completed| (completed.job, completed.effects)).collect();
            for call in batch {
                let effects = effects.remove(&call.request.run_key.job);
                call.answer(Ok(effects));
            }
        }
        // One completion may be to blame. Alone, each gets its own answer.
        Err(StoreError::Refused { .. }) if batch.len() > 1 => {
            for call in batch {
                let result = complete(database, call.request.run_key, &call.request.output, &[]).await;
                call.answer(result);
            }
        }
        Err(error) => {
            for call in batch {
                call.answer(Err(error.clone()));
            }
        }
    }
    Vec::new()
}

/// Completes one job of any kind, and queues analyses of `usernames`. `None` if the token is stale.
pub(super) async fn complete(
    database: &Database,
    run_key: RunKey,
    output: &Value,
    usernames: &[String],
) -> Result<Option<Effects>, StoreError> {
    let found: Vec<Value> =
        usernames.iter().map(|username| json!({ "id": JobId::fresh(), "username": username })).collect();
    database
        .essential()
        .optional(
            include_str!("../../sql/complete.sql"),
            &[
                (&run_key.job.0, Type::UUID),
                (&run_key.token.0, Type::INT8),
                (&Json(storable(output)), Type::JSONB),
                (&Json(found), Type::JSONB),
                (&Json(&database.policy.tiers), Type::JSONB),
                (&Json(&database.policy.lanes), Type::JSONB),
            ],
        )
        .await
}

/// `value` with U+FFFD in place of NUL, which PostgreSQL's `jsonb` cannot store.
pub(super) fn storable(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "\u{FFFD}")),
        Value::Array(items) => items.iter().map(storable).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.replace('\0', "\u{FFFD}"), storable(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
