use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use switchyard_contract::Lane;
use tokio_postgres::types::{Json, Type};

use super::{Store, StoreError, Tenant};
use crate::model::{Effects, Job, JobId, TenantId};

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

impl Store {
    /// Admits an analysis: one round trip that checks key, idempotency, limits, lane and credits, and stores job, charge and first event.
    ///
    /// Not safe to repeat after [`StoreError::Interrupted`] unless the request carries an idempotency key.
    pub async fn submit(&self, request: &SubmitRequest<'_>) -> Result<Admission, StoreError> {
        let input = json!({ "username": request.username, "force_refresh": request.force_refresh, "origin": "api", "depth": 0 });
        let (key, hash) =
            request.idempotency.map_or((None, None), |i| (Some(i.key.as_str()), Some(i.request_hash.as_slice())));
        self.one(
            include_str!("../../sql/submit.sql"),
            &[
                (&JobId::fresh().0, Type::UUID),
                (&request.key.0.as_slice(), Type::BYTEA),
                (&request.username, Type::TEXT),
                (&Json(input), Type::JSONB),
                (&key, Type::TEXT),
                (&hash, Type::BYTEA),
                (&Json(&self.policy.tiers), Type::JSONB),
                (&Json(&self.policy.lanes), Type::JSONB),
            ],
        )
        .await
    }

    /// The tenant that a key belongs to, unless it was revoked.
    pub async fn authenticate(&self, key: KeyHash) -> Result<Option<Tenant>, StoreError> {
        self.optional(include_str!("../../sql/authenticate.sql"), &[(&key.0.as_slice(), Type::BYTEA)]).await
    }

    /// What was answered before under an idempotency key: [`Admission::Replayed`] or [`Admission::IdempotencyConflict`]; `None` when it is new.
    /// For answers that need no submission, such as one from the cache; [`Store::submit`] looks for itself.
    pub async fn answered(&self, tenant: TenantId, idempotency: &Idempotency) -> Result<Option<Admission>, StoreError> {
        self.optional(
            include_str!("../../sql/answered.sql"),
            &[
                (&tenant.0, Type::UUID),
                (&idempotency.key, Type::TEXT),
                (&idempotency.request_hash.as_slice(), Type::BYTEA),
            ],
        )
        .await
    }
}
