use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use switchyard_contract::{Kind, Lane};
use tokio_postgres::{
    Row,
    types::{Json, Type},
};
use uuid::Uuid;

use super::{
    Store, StoreError, Tenant,
    gather::{Gather, Limits, Request, Waiting},
};
use crate::{
    model::{Effects, Job, JobId, JobState, Origin, Queue, TenantId},
    resilience::deadline,
    trace,
};

/// SHA-256 of an API key; all that is stored of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of a key as the caller sent it.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

/// A caller's promise that a request is the same one as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key; remembered for 24 h for its tenant.
    pub key: String,
    /// Tells the request under that key from any other.
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
pub struct SubmitRequest<'a> {
    pub key: KeyHash,
    /// Already checked and in its canonical form.
    pub username: &'a str,
    pub force_refresh: bool,
    pub idempotency: Option<&'a Idempotency>,
}

/// What admission says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Admission {
    /// Stored and paid for. `effects` is to be announced.
    Accepted {
        job: Job,
        charged: i64,
        balance: i64,
        /// Whether it shares the pipeline of an analysis of the same profile that was in flight.
        coalesced: bool,
        effects: Effects,
    },
    /// The first answer under this idempotency key, as it was then.
    Replayed {
        job: Job,
        charged: i64,
        balance: i64,
    },
    /// No such key, or it was revoked.
    Unauthenticated,
    InsufficientCredits {
        balance: i64,
        price: i64,
    },
    /// As many analyses of this tenant are unfinished as its tier allows.
    ConcurrentLimit {
        limit: u32,
        /// Seconds after which one of them may have ended.
        retry_after: u64,
    },
    /// Days are UTC.
    DailyLimit {
        limit: u32,
        resets_at: DateTime<Utc>,
    },
    /// Seconds after which a place may be free.
    LaneFull {
        lane: Lane,
        retry_after: u64,
    },
    /// The idempotency key belongs to another request.
    IdempotencyConflict,
}

/// Submissions in one batch, and how many may wait for theirs: some two seconds' worth.
const SUBMISSIONS: Limits = Limits { batch: 256, under_way: 2, waiting: 8192 };
/// Batches in which a submission may find its tenant's row taken, before it waits for the row on its own.
const PATIENCE: u8 = 3;

/// A submission on its way.
pub(super) struct Submission {
    job: JobId,
    key: KeyHash,
    username: String,
    force_refresh: bool,
    idempotency: Option<Idempotency>,
    /// The request's place in its trace.
    trace: Option<String>,
    /// Batches that it has been in.
    tries: u8,
}

impl Request for Submission {
    /// Submissions of one tenant wait for one another. Its keys are as good as its name here: two keys of one tenant cost a trip at worst.
    type Stake = KeyHash;

    fn stake(&self) -> Option<KeyHash> {
        Some(self.key)
    }
}

/// What the database says to a submission.
enum Verdict {
    Said(Box<Admission>),
    /// Somebody else holds the tenant's row.
    Busy,
}

/// An analysis as it was accepted; in few words, for they are kept for a day.
#[derive(Deserialize)]
struct Acceptance {
    job: JobId,
    tenant: TenantId,
    username: String,
    lane: Lane,
    at: DateTime<Utc>,
    charged: i64,
    balance: i64,
    coalesced: bool,
}

impl Acceptance {
    fn job(&self) -> Job {
        Job {
            id: self.job,
            tenant: self.tenant,
            parent: None,
            origin: Origin::Api,
            state: JobState::Queued,
            kind: Kind::General,
            lane: self.lane,
            username: self.username.clone(),
            attempt: 0,
            progress: 0,
            stage: "queued".to_owned(),
            error: None,
            run_at: None,
            created_at: self.at,
            started_at: None,
            finished_at: None,
        }
    }

    fn accepted(self) -> Admission {
        let ready = if self.coalesced { Vec::new() } else { vec![Queue { kind: Kind::General, lane: self.lane }] };
        Admission::Accepted {
            job: self.job(),
            charged: self.charged,
            balance: self.balance,
            coalesced: self.coalesced,
            effects: Effects { ready, events: Vec::new() },
        }
    }

    fn replayed(self) -> Admission {
        Admission::Replayed { job: self.job(), charged: self.charged, balance: self.balance }
    }
}

/// What was answered before under an idempotency key, as the database tells it.
#[derive(Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Before {
    Replayed(Acceptance),
    IdempotencyConflict,
}

impl Before {
    fn admission(self) -> Admission {
        match self {
            Self::Replayed(acceptance) => acceptance.replayed(),
            Self::IdempotencyConflict => Admission::IdempotencyConflict,
        }
    }
}

/// Submissions of this process, gathered.
pub(super) type Submissions = Gather<Submission, Admission>;

pub(super) fn submissions() -> Submissions {
    Gather::new(SUBMISSIONS)
}

impl Store {
    /// Admits an analysis: one round trip, shared with the submissions that come at the same time, that checks key, idempotency, limits, lane and
    /// credits, and stores job and charge.
    ///
    /// Not safe to repeat after [`StoreError::Interrupted`] unless the request carries an idempotency key.
    pub async fn submit(&self, request: &SubmitRequest<'_>) -> Result<Admission, StoreError> {
        let submission = Submission {
            job: JobId::fresh(),
            key: request.key,
            username: request.username.to_owned(),
            force_refresh: request.force_refresh,
            idempotency: request.idempotency.cloned(),
            trace: trace::current().map(|context| context.to_string()),
            tries: 0,
        };
        let store = self.clone();
        deadline::within(self.submissions.call(submission, move |batch| {
            let store = store.clone();
            async move { store.submit_batch(batch).await }
        }))
        .await
        .unwrap_or_else(|| Err(StoreError::Interrupted("no answer within the request's time".to_owned())))
    }

    /// Answers a batch; hands back what is to come again.
    async fn submit_batch(&self, batch: Vec<Waiting<Submission, Admission>>) -> Vec<Waiting<Submission, Admission>> {
        let verdicts = match self.verdicts(batch.iter().map(|w| &w.request), false).await {
            Ok(verdicts) => verdicts,
            // One of them may be to blame: each for itself.
            Err(StoreError::Refused { .. }) if batch.len() > 1 => {
                for waiting in batch {
                    self.submit_alone(waiting).await;
                }
                return Vec::new();
            }
            Err(error) => {
                for waiting in batch {
                    // Whoever asked may have stopped waiting.
                    let _ = waiting.answer.send(Err(error.clone()));
                }
                return Vec::new();
            }
        };
        let mut again = Vec::new();
        for (mut waiting, verdict) in batch.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Said(admission) => drop(waiting.answer.send(Ok(*admission))),
                Verdict::Busy if waiting.request.tries < PATIENCE => {
                    waiting.request.tries += 1;
                    again.push(waiting);
                }
                Verdict::Busy => {
                    // Waiting for that row is no reason for others to wait.
                    let store = self.clone();
                    tokio::spawn(async move { store.submit_alone(waiting).await });
                }
            }
        }
        again
    }

    async fn submit_alone(&self, waiting: Waiting<Submission, Admission>) {
        let answer = match self.verdicts(std::iter::once(&waiting.request), true).await.map(|mut v| v.pop()) {
            Ok(Some(Verdict::Said(admission))) => Ok(*admission),
            // Its key came into being in the very middle of this.
            Ok(Some(Verdict::Busy) | None) => Err(StoreError::Interrupted("the tenant is busy".to_owned())),
            Err(error) => Err(error),
        };
        let _ = waiting.answer.send(answer);
    }

    /// What the database says to submissions, in their order.
    async fn verdicts<'a>(
        &self,
        submissions: impl Iterator<Item = &'a Submission> + Clone,
        wait: bool,
    ) -> Result<Vec<Verdict>, StoreError> {
        let jobs: Vec<Uuid> = submissions.clone().map(|s| s.job.0).collect();
        let keys: Vec<&[u8]> = submissions.clone().map(|s| s.key.0.as_slice()).collect();
        let usernames: Vec<&str> = submissions.clone().map(|s| s.username.as_str()).collect();
        let forced: Vec<bool> = submissions.clone().map(|s| s.force_refresh).collect();
        let idem_keys: Vec<Option<&str>> =
            submissions.clone().map(|s| s.idempotency.as_ref().map(|i| i.key.as_str())).collect();
        let idem_hashes: Vec<Option<&[u8]>> =
            submissions.clone().map(|s| s.idempotency.as_ref().map(|i| i.request_hash.as_slice())).collect();
        let traces: Vec<Option<&str>> = submissions.clone().map(|s| s.trace.as_deref()).collect();
        let rows = self
            .rows(
                include_str!("../../sql/submit.sql"),
                &[
                    (&jobs, Type::UUID_ARRAY),
                    (&keys, Type::BYTEA_ARRAY),
                    (&usernames, Type::TEXT_ARRAY),
                    (&forced, Type::BOOL_ARRAY),
                    (&idem_keys, Type::TEXT_ARRAY),
                    (&idem_hashes, Type::BYTEA_ARRAY),
                    (&Json(&self.policy.tiers), Type::JSONB),
                    (&Json(&self.policy.lanes), Type::JSONB),
                    (&wait, Type::BOOL),
                    (&traces, Type::TEXT_ARRAY),
                ],
            )
            .await?;
        if rows.len() != jobs.len() {
            return Err(StoreError::Unexpected(format!("{} answers to {} submissions", rows.len(), jobs.len())));
        }
        submissions
            .zip(&rows)
            .map(|(submission, row)| {
                verdict(submission, row).map_err(|error| StoreError::Unexpected(error.to_string()))
            })
            .collect()
    }

    /// The tenant that a key belongs to, unless it was revoked.
    pub async fn authenticate(&self, key: KeyHash) -> Result<Option<Tenant>, StoreError> {
        self.fresh().optional(include_str!("../../sql/authenticate.sql"), &[(&key.0.as_slice(), Type::BYTEA)]).await
    }

    /// What was answered before under an idempotency key: [`Admission::Replayed`] or [`Admission::IdempotencyConflict`]; `None` when it is new.
    /// For answers that need no submission, such as one from the cache; [`Store::submit`] looks for itself.
    pub async fn answered(&self, tenant: TenantId, idempotency: &Idempotency) -> Result<Option<Admission>, StoreError> {
        let before: Option<Before> = self
            .fresh()
            .optional(
                include_str!("../../sql/answered.sql"),
                &[
                    (&tenant.0, Type::UUID),
                    (&idempotency.key, Type::TEXT),
                    (&idempotency.request_hash.as_slice(), Type::BYTEA),
                ],
            )
            .await?;
        Ok(before.map(Before::admission))
    }
}

fn verdict(submission: &Submission, row: &Row) -> Result<Verdict, Box<dyn std::error::Error>> {
    let outcome: &str = row.try_get("outcome")?;
    if outcome == "accepted" {
        let acceptance = Acceptance {
            job: submission.job,
            tenant: TenantId(row.try_get("tenant")?),
            username: submission.username.clone(),
            lane: row.try_get::<_, &str>("lane")?.parse()?,
            at: row.try_get("at")?,
            charged: row.try_get("charged")?,
            balance: row.try_get("balance")?,
            coalesced: row.try_get("coalesced")?,
        };
        return Ok(Verdict::Said(Box::new(acceptance.accepted())));
    }
    let document = || row.try_get::<_, Json<Value>>("document").map(|Json(value)| value);
    Ok(Verdict::Said(Box::new(match outcome {
        "busy" => return Ok(Verdict::Busy),
        "unauthenticated" => Admission::Unauthenticated,
        "idempotency_conflict" => Admission::IdempotencyConflict,
        "replayed" => serde_json::from_value::<Acceptance>(document()?)?.replayed(),
        refusal => {
            let mut document = document()?;
            document["outcome"] = refusal.into();
            serde_json::from_value(document)?
        }
    })))
}
