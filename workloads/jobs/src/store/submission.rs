//! Submissions, from the request to the database's answer, one round trip for a batch of them.
//!
//! One type leads in and one leads out: a [`SubmitRequest`] waits as the request of a
//! [`PendingCall`], `sql/submit.sql` takes the batch as arrays, and each row that it returns
//! becomes an [`Admission`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use switchyard_contract::{Kind, Lane};
use tokio_postgres::{
    Row,
    types::{Json, Type},
};
use uuid::Uuid;

use super::{
    batcher::{Batch, Batcher, Limits, PendingCall, Request},
    database::Database,
    error::StoreError,
};
use crate::model::{Effects, Job, JobId, JobState, Origin, Queue, TenantId};

/// SHA-256 of an API key. The key itself is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of a key as the caller sent it.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

/// An idempotency key with the request that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key. It is remembered for 24 hours and belongs to its tenant.
    pub key: String,
    /// SHA-256 of the request's canonical form. The same key with another hash is a conflict.
    pub request_hash: [u8; 32],
}

impl Idempotency {
    /// The key with the hash of the request's canonical form.
    pub fn of(key: impl Into<String>, request: &[u8]) -> Self {
        Self { key: key.into(), request_hash: Sha256::digest(request).into() }
    }
}

/// An analysis to be admitted.
#[derive(Debug, Clone)]
pub struct SubmitRequest {
    pub key: KeyHash,
    /// Validated and in its canonical form.
    pub username: String,
    /// Whether the analysis must not share the pipeline of one in flight.
    pub force_refresh: bool,
    pub idempotency: Option<Idempotency>,
}

impl Request for SubmitRequest {
    /// Submissions of one tenant lock the tenant's row. The API key stands for the tenant: two keys
    /// of one tenant cost a round trip more at worst.
    type ConflictKey = KeyHash;

    fn conflict_key(&self) -> Option<KeyHash> {
        Some(self.key)
    }
}

/// The answer to a [`SubmitRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Admission {
    /// Stored and charged. `effects` is to be announced.
    Accepted {
        job: Job,
        /// Credits.
        charged: i64,
        /// Credits left.
        balance: i64,
        /// Whether it shares the pipeline of an analysis of the same profile in flight.
        coalesced: bool,
        effects: Effects,
    },
    /// The first answer under this idempotency key, unchanged.
    Replayed {
        job: Job,
        charged: i64,
        balance: i64,
    },
    /// The API key does not exist or is revoked.
    Unauthenticated,
    InsufficientCredits {
        balance: i64,
        price: i64,
    },
    /// The tenant has as many unfinished analyses as its tier allows.
    ConcurrentLimit {
        limit: u32,
        /// Seconds after which one of them may have ended.
        retry_after: u64,
    },
    /// The tenant has submitted as many analyses in this UTC day as its tier allows.
    DailyLimit {
        limit: u32,
        resets_at: DateTime<Utc>,
    },
    /// As many analyses are queued in the lane as it has capacity for.
    LaneFull {
        lane: Lane,
        /// Seconds after which the lane may have room.
        retry_after: u64,
    },
    /// The idempotency key belongs to another request.
    IdempotencyConflict,
}

/// 8192 pending submissions are about two seconds of work.
const LIMITS: Limits = Limits { max_batch: 256, max_in_flight: 2, max_pending: 8192 };
/// Batches in which a submission may find its tenant's row locked. After them it waits for the row,
/// in a statement of its own.
const MAX_BUSY_BATCHES: u32 = 4;

/// Batches the submissions of this process.
pub(super) type Submissions = Batcher<SubmitRequest, Admission>;

type Call = PendingCall<SubmitRequest, Admission>;

pub(super) fn batcher(database: Database) -> Submissions {
    Batcher::new(LIMITS, move |batch| {
        let database = database.clone();
        async move { submit_batch(&database, batch).await }
    })
}

/// What a submission does about a locked row of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnLock {
    Skip,
    Wait,
}

/// Answers a batch, and returns the submissions that found their tenant's row locked.
async fn submit_batch(database: &Database, batch: Batch<SubmitRequest, Admission>) -> Batch<SubmitRequest, Admission> {
    let admissions = match submit(database, &batch, OnLock::Skip).await {
        Ok(admissions) => admissions,
        // One request may be to blame. Alone, each gets its own answer.
        Err(StoreError::Refused { .. }) if batch.len() > 1 => {
            for call in batch {
                submit_alone(database, call).await;
            }
            return Vec::new();
        }
        Err(error) => {
            for call in batch {
                call.answer(Err(error.clone()));
            }
            return Vec::new();
        }
    };
    let mut busy = Vec::new();
    for (call, admission) in batch.into_iter().zip(admissions) {
        match admission {
            Some(admission) => call.answer(Ok(admission)),
            None if call.attempts < MAX_BUSY_BATCHES => busy.push(call),
            None => {
                // The other submissions do not wait for this tenant's row.
                let database = database.clone();
                tokio::spawn(async move { submit_alone(&database, call).await });
            }
        }
    }
    busy
}

async fn submit_alone(database: &Database, call: Call) {
    let result = match submit(database, std::slice::from_ref(&call), OnLock::Wait).await.map(|mut all| all.pop()) {
        Ok(Some(Some(admission))) => Ok(admission),
        // The API key was created while the statement ran.
        Ok(Some(None) | None) => Err(StoreError::Interrupted("the tenant is busy".to_owned())),
        Err(error) => Err(error),
    };
    call.answer(result);
}

/// Runs the statement. The answers are in the order of `calls`; `None` means that the tenant's row
/// is locked.
async fn submit(database: &Database, calls: &[Call], on_lock: OnLock) -> Result<Vec<Option<Admission>>, StoreError> {
    fn column<'a, T>(calls: &'a [Call], value: impl Fn(&'a SubmitRequest) -> T) -> Vec<T> {
        calls.iter().map(|call| value(&call.request)).collect()
    }
    let ids: Vec<Uuid> = calls.iter().map(|_| JobId::fresh().0).collect();
    let keys = column(calls, |request| request.key.0.as_slice());
    let usernames = column(calls, |request| request.username.as_str());
    let forced = column(calls, |request| request.force_refresh);
    let idem_keys = column(calls, |request| request.idempotency.as_ref().map(|i| i.key.as_str()));
    let idem_hashes = column(calls, |request| request.idempotency.as_ref().map(|i| i.request_hash.as_slice()));
    let traces: Vec<Option<String>> = calls.iter().map(|call| call.trace.map(|trace| trace.to_string())).collect();
    let rows = database
        .primary()
        .rows(
            include_str!("../../sql/submit.sql"),
            &[
                (&ids, Type::UUID_ARRAY),
                (&keys, Type::BYTEA_ARRAY),
                (&usernames, Type::TEXT_ARRAY),
                (&forced, Type::BOOL_ARRAY),
                (&idem_keys, Type::TEXT_ARRAY),
                (&idem_hashes, Type::BYTEA_ARRAY),
                (&Json(&database.policy.tiers), Type::JSONB),
                (&Json(&database.policy.lanes), Type::JSONB),
                (&(on_lock == OnLock::Wait), Type::BOOL),
                (&traces, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    if rows.len() != calls.len() {
        return Err(StoreError::Unexpected(format!("{} answers to {} submissions", rows.len(), calls.len())));
    }
    let answers = calls.iter().zip(ids).zip(&rows);
    answers
        .map(|((call, id), row)| {
            admission(&call.request, JobId(id), row).map_err(|error| StoreError::Unexpected(error.to_string()))
        })
        .collect()
}

fn admission(
    request: &SubmitRequest,
    id: JobId,
    row: &Row,
) -> Result<Option<Admission>, Box<dyn std::error::Error + Send + Sync>> {
    match row.try_get("outcome")? {
        "busy" => Ok(None),
        "accepted" => {
            let (lane, coalesced): (Lane, bool) = (row.try_get::<_, &str>("lane")?.parse()?, row.try_get("coalesced")?);
            let job = Job {
                id,
                tenant: TenantId(row.try_get("tenant")?),
                parent: None,
                origin: Origin::Api,
                state: JobState::Queued,
                kind: Kind::General,
                lane,
                username: request.username.clone(),
                attempt: 0,
                progress: 0,
                stage: "queued".to_owned(),
                error: None,
                run_at: None,
                created_at: row.try_get("at")?,
                started_at: None,
                finished_at: None,
            };
            let ready = if coalesced { Vec::new() } else { vec![Queue { kind: Kind::General, lane }] };
            Ok(Some(Admission::Accepted {
                job,
                charged: row.try_get("charged")?,
                balance: row.try_get("balance")?,
                coalesced,
                effects: Effects { ready, events: Vec::new() },
            }))
        }
        outcome => {
            let document: Option<Json<Value>> = row.try_get("document")?;
            let mut document = document.map_or_else(|| json!({}), |Json(document)| document);
            document["outcome"] = outcome.into();
            Ok(Some(serde_json::from_value(document)?))
        }
    }
}
