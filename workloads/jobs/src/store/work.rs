use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_contract::{Kind, Lane};
use tokio_postgres::types::{Json, Type};
use uuid::Uuid;

use super::{
    Store, StoreError,
    gather::{Gather, Limits, Request, Waiting},
};
use crate::{
    handler::{Child, ChildResult, Claimed, Step},
    model::{Effects, JobError, JobId, Queue, RunToken, TenantId},
    trace,
};

/// What a worker holds of a job: no write counts without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    pub job: JobId,
    pub token: RunToken,
}

/// Who claims, and for how long at a time.
#[derive(Debug, Clone)]
pub struct Lease<'a> {
    /// Names the process, for people.
    pub worker: &'a str,
    /// How long the claim holds without a heartbeat.
    pub duration: Duration,
    /// Names this call, to ask what came of it when its answer was lost.
    pub call: Uuid,
    /// Whether the call was made before: then it answers what it took at that time, as far as that is still held, and takes more only when it took nothing.
    pub again: bool,
}

/// A claim that succeeded.
#[derive(Debug, Clone)]
pub struct Claim {
    pub job: Claimed,
    pub token: RunToken,
    pub effects: Effects,
    /// Where in a trace it was made.
    pub trace: Option<trace::Context>,
    /// How long ago it was made; none where that says nothing, as after a replay.
    pub age: Option<Duration>,
}

impl Claim {
    /// What later writes need.
    pub const fn held(&self) -> Held {
        Held { job: self.job.id, token: self.token }
    }
}

/// How far a job is, for its watchers.
#[derive(Debug, Clone)]
pub struct ProgressReport {
    pub held: Held,
    /// Cut to 0..=99.
    pub percent: u8,
    pub stage: String,
}

/// What became of a failed attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FailOutcome {
    /// The token is not the job's: somebody else has it, or it has ended. Nothing was written.
    Stale,
    Retrying {
        run_at: DateTime<Utc>,
        effects: Effects,
    },
    Dead {
        effects: Effects,
    },
}

/// Completions in one batch. Two batches may be on their way: they lock different analyses, and their tenants only for a moment.
const COMPLETIONS: Limits = Limits { batch: 256, under_way: 2, waiting: usize::MAX };

/// A completion on its way.
pub(super) struct Completion {
    held: Held,
    output: Value,
}

impl Request for Completion {
    type Stake = std::convert::Infallible;

    fn stake(&self) -> Option<Self::Stake> {
        None
    }
}

/// Completions of this process, gathered.
pub(super) type Completions = Gather<Completion, Option<Effects>>;

pub(super) fn completions() -> Completions {
    Gather::new(COMPLETIONS)
}

/// A claim as the database tells it.
#[derive(Deserialize)]
struct ClaimRow {
    id: JobId,
    root: JobId,
    tenant: TenantId,
    kind: Kind,
    lane: Lane,
    attempt: i32,
    username: String,
    input: Value,
    /// Absent where an older program set the functions up.
    #[serde(default)]
    corrects: bool,
    joins: bool,
    kept: Option<Value>,
    children: Vec<ChildRow>,
    token: RunToken,
    effects: Effects,
    #[serde(default)]
    trace: Option<String>,
    #[serde(default)]
    age_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Ended {
    job: JobId,
    effects: Effects,
}

#[derive(Deserialize)]
struct ChildRow {
    kind: Kind,
    input: Value,
    output: Option<Value>,
    error: Option<JobError>,
}

impl From<ClaimRow> for Claim {
    fn from(row: ClaimRow) -> Self {
        let children = row.children.into_iter().map(|child| ChildResult {
            kind: child.kind,
            input: child.input,
            result: match child.error {
                Some(error) => Err(error),
                None => Ok(child.output.unwrap_or(Value::Null)),
            },
        });
        let step = if row.joins {
            Step::Join { kept: row.kept.unwrap_or(Value::Null), children: children.collect() }
        } else {
            Step::Start
        };
        Self {
            job: Claimed {
                id: row.id,
                root: row.root,
                tenant: row.tenant,
                kind: row.kind,
                lane: row.lane,
                attempt: row.attempt,
                username: row.username,
                input: row.input,
                corrects: row.corrects,
                step,
            },
            token: row.token,
            effects: row.effects,
            trace: row.trace.as_deref().and_then(trace::Context::parse),
            age: row.age_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }
}

impl Store {
    /// Takes the jobs of a queue whose turn it is, `most` at most: queued, due for another attempt, or joined by their last child. Fewer, or none, when
    /// there are no more, when the queue is paused, or when as many analyses of the lane run as may run at once in the platform.
    pub async fn claim(&self, queue: Queue, most: u32, lease: &Lease<'_>) -> Result<Vec<Claim>, StoreError> {
        // Parts of an analysis run at the expense of its place.
        let places = (queue.kind == Kind::General)
            .then(|| i32::try_from(self.policy.lanes.get(queue.lane).max_running).unwrap_or(i32::MAX));
        let rows: Vec<ClaimRow> = self
            .essential()
            .one(
                include_str!("../../sql/claim.sql"),
                &[
                    (&queue.kind.as_str(), Type::TEXT),
                    (&queue.lane.as_str(), Type::TEXT),
                    (&i32::try_from(most).unwrap_or(i32::MAX), Type::INT4),
                    (&places, Type::INT4),
                    (&lease.worker, Type::TEXT),
                    (&lease.duration.as_secs_f64(), Type::FLOAT8),
                    (&lease.call, Type::UUID),
                    (&lease.again, Type::BOOL),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(Claim::from).collect())
    }

    /// Extends leases, and answers those that are still held. Safe to repeat.
    pub async fn heartbeat(&self, held: &[Held], lease: Duration) -> Result<Vec<JobId>, StoreError> {
        let (jobs, tokens) = columns(held);
        self.essential()
            .one(
                include_str!("../../sql/heartbeat.sql"),
                &[(&jobs, Type::UUID_ARRAY), (&tokens, Type::INT8_ARRAY), (&lease.as_secs_f64(), Type::FLOAT8)],
            )
            .await
    }

    /// Writes the progress of analyses; a part's own progress shows through its analysis when it ends. Reports of jobs that are no longer held write
    /// nothing, and progress never goes back.
    pub async fn progress(&self, reports: &[ProgressReport]) -> Result<Effects, StoreError> {
        let (jobs, tokens) = columns(reports.iter().map(|r| &r.held));
        let percents: Vec<i16> = reports.iter().map(|r| i16::from(r.percent.min(99))).collect();
        let stages: Vec<String> = reports.iter().map(|r| r.stage.replace('\0', "\u{FFFD}")).collect();
        self.essential()
            .one(
                include_str!("../../sql/progress.sql"),
                &[
                    (&jobs, Type::UUID_ARRAY),
                    (&tokens, Type::INT8_ARRAY),
                    (&percents, Type::INT2_ARRAY),
                    (&stages, Type::TEXT_ARRAY),
                ],
            )
            .await
    }

    /// Makes `children` and lets the job wait for them; without any it is claimable again at once. `None` when the token is stale.
    pub async fn spawn(
        &self,
        held: Held,
        kept: &Value,
        children: &[Child],
        stage: &str,
    ) -> Result<Option<Effects>, StoreError> {
        let children: Vec<Value> = children
            .iter()
            .map(|child| json!({ "id": JobId::fresh(), "kind": child.kind, "input": storable(&child.input), "required": child.required }))
            .collect();
        self.essential()
            .optional(
                include_str!("../../sql/spawn.sql"),
                &[
                    (&held.job.0, Type::UUID),
                    (&held.token.0, Type::INT8),
                    (&Json(storable(kept)), Type::JSONB),
                    (&Json(children), Type::JSONB),
                    (&stage, Type::TEXT),
                    (&Json(&self.policy.lanes), Type::JSONB),
                    (&trace::current().map(|context| context.to_string()), Type::TEXT),
                ],
            )
            .await
    }

    /// Ends an analysis well, in one round trip with those that end at the same time. `None` when the token is stale.
    pub async fn complete_analysis(&self, held: Held, output: &Value) -> Result<Option<Effects>, StoreError> {
        let store = self.clone();
        self.completions
            .call(Completion { held, output: storable(output) }, move |batch| {
                let store = store.clone();
                async move {
                    store.complete_batch(batch).await;
                    Vec::new()
                }
            })
            .await
    }

    async fn complete_batch(&self, batch: Vec<Waiting<Completion, Option<Effects>>>) {
        let (jobs, tokens) = columns(batch.iter().map(|w| &w.request.held));
        let outputs: Vec<Json<&Value>> = batch.iter().map(|w| Json(&w.request.output)).collect();
        let ended: Result<Vec<Ended>, StoreError> = self
            .essential()
            .many(
                include_str!("../../sql/complete_many.sql"),
                &[(&jobs, Type::UUID_ARRAY), (&tokens, Type::INT8_ARRAY), (&outputs, Type::JSONB_ARRAY)],
            )
            .await;
        drop(outputs);
        match ended {
            Ok(ended) => {
                let mut effects: HashMap<JobId, Effects> = ended.into_iter().map(|e| (e.job, e.effects)).collect();
                for waiting in batch {
                    // Whoever asked may have stopped waiting.
                    let _ = waiting.answer.send(Ok(effects.remove(&waiting.request.held.job)));
                }
            }
            // One of them may be to blame: each for itself.
            Err(StoreError::Refused { .. }) if batch.len() > 1 => {
                for waiting in batch {
                    let Completion { held, output } = &waiting.request;
                    let answer = self.complete(*held, output).await;
                    let _ = waiting.answer.send(answer);
                }
            }
            Err(error) => {
                for waiting in batch {
                    let _ = waiting.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Ends a job of any sort well, on its own. `None` when the token is stale.
    pub async fn complete(&self, held: Held, output: &Value) -> Result<Option<Effects>, StoreError> {
        self.complete_and_discover(held, output, &[]).await
    }

    /// Ends a job well, and queues analyses of `usernames` on the low lane as far as the tenant's daily and concurrent limits and the lane's capacity
    /// go; profiles that the tenant has already in hand are left out. Discovered analyses cost nothing and do not count as the tenant's own.
    pub async fn complete_and_discover(
        &self,
        held: Held,
        output: &Value,
        usernames: &[String],
    ) -> Result<Option<Effects>, StoreError> {
        let found: Vec<Value> =
            usernames.iter().map(|username| json!({ "id": JobId::fresh(), "username": username })).collect();
        self.essential()
            .optional(
                include_str!("../../sql/complete.sql"),
                &[
                    (&held.job.0, Type::UUID),
                    (&held.token.0, Type::INT8),
                    (&Json(storable(output)), Type::JSONB),
                    (&Json(found), Type::JSONB),
                    (&Json(&self.policy.tiers), Type::JSONB),
                    (&Json(&self.policy.lanes), Type::JSONB),
                ],
            )
            .await
    }

    /// Ends an analysis well for now: a correction made with `input` may be claimed on the low lane after `after`, and what that completes with takes the
    /// place of `output` for everyone who shares the analysis. `None` when the token is stale.
    pub async fn complete_for_now(
        &self,
        held: Held,
        output: &Value,
        input: &Value,
        after: Duration,
    ) -> Result<Option<Effects>, StoreError> {
        self.essential()
            .optional(
                include_str!("../../sql/complete_for_now.sql"),
                &[
                    (&held.job.0, Type::UUID),
                    (&held.token.0, Type::INT8),
                    (&Json(storable(output)), Type::JSONB),
                    (&JobId::fresh().0, Type::UUID),
                    (&Json(storable(input)), Type::JSONB),
                    (&after.as_secs_f64(), Type::FLOAT8),
                ],
            )
            .await
    }

    /// Ends an attempt badly: another one at a later time, or death with its consequences (credits back, children cancelled, parent told).
    pub async fn fail(&self, held: Held, error: &JobError) -> Result<FailOutcome, StoreError> {
        let delays: Vec<f64> = self.policy.retry.delays_seconds.iter().map(|s| *s as f64).collect();
        self.essential()
            .one(
                include_str!("../../sql/fail.sql"),
                &[
                    (&held.job.0, Type::UUID),
                    (&held.token.0, Type::INT8),
                    (&Json(storable(&json!(error))), Type::JSONB),
                    (&delays, Type::FLOAT8_ARRAY),
                    (&i32::try_from(self.policy.retry.attempts()).unwrap_or(i32::MAX), Type::INT4),
                ],
            )
            .await
    }

    /// Hands a job back unharmed, for another worker; the attempt does not count. `None` when the token is stale.
    pub async fn give_back(&self, held: Held) -> Result<Option<Effects>, StoreError> {
        self.essential()
            .optional(
                include_str!("../../sql/give_back.sql"),
                &[(&held.job.0, Type::UUID), (&held.token.0, Type::INT8)],
            )
            .await
    }
}

/// A document that PostgreSQL can keep: its text has no room for the character NUL, which texts from outside may hold.
fn storable(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "\u{FFFD}")),
        Value::Array(items) => items.iter().map(storable).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.replace('\0', "\u{FFFD}"), storable(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// What was held, column by column.
fn columns<'a>(held: impl IntoIterator<Item = &'a Held>) -> (Vec<Uuid>, Vec<i64>) {
    held.into_iter().map(|h| (h.job.0, h.token.0)).unzip()
}
