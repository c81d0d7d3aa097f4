use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use rand::{TryRngCore as _, rngs::OsRng};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use switchyard_contract::{Kind, Lane, QueueStats, Tier};
use tokio_postgres::types::{Json, Type};
use uuid::Uuid;

use super::{JobFilter, JobPage, KeyHash, Store, StoreError};
use crate::model::{Effects, FailedAttempt, Job, JobId, Queue, TenantId};

/// A tenant to be made.
#[derive(Debug, Clone)]
pub struct NewTenant<'a> {
    pub name: &'a str,
    pub tier: Tier,
    /// Credits to begin with; not negative.
    pub credits: i64,
}

/// A tenant as an admin sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantReport {
    pub id: TenantId,
    pub name: String,
    pub tier: Tier,
    pub credits: i64,
    /// Sum of the tenant's ledger; equals `credits`, always.
    pub ledger_sum: i64,
    pub running: u32,
    pub today: u32,
    pub created_at: DateTime<Utc>,
}

/// A fresh API key. `secret` is shown once and stored nowhere.
pub struct ApiKey {
    pub id: Uuid,
    pub secret: SecretString,
}

/// A dead analysis with all that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadJob {
    pub job: Job,
    pub failures: Vec<FailedAttempt>,
    /// Failed children, each with its own history.
    pub children: Vec<DeadChild>,
}

/// A dead part of a dead analysis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadChild {
    pub id: JobId,
    pub kind: Kind,
    pub failures: Vec<FailedAttempt>,
}

/// What replaying a dead analysis came to. Its credits went back when it died, so a replay charges them again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ReplayOutcome {
    NotFound,
    /// Only dead analyses can be replayed.
    NotDead {
        job: Job,
    },
    InsufficientCredits {
        balance: i64,
        price: i64,
    },
    /// As many analyses of its tenant are unfinished as the tier allows.
    ConcurrentLimit {
        limit: u32,
        /// Seconds after which one of them may have ended.
        retry_after: u64,
    },
    /// From the beginning, with a fresh set of attempts. The day's limit does not hold an admin back.
    Replayed {
        job: Job,
        charged: i64,
        balance: i64,
        effects: Effects,
    },
}

impl Store {
    /// Makes a tenant; its first credits are its ledger's first entry.
    pub async fn create_tenant(&self, tenant: &NewTenant<'_>) -> Result<TenantReport, StoreError> {
        self.one(
            include_str!("../../sql/create_tenant.sql"),
            &[
                (&Uuid::now_v7(), Type::UUID),
                (&tenant.name, Type::TEXT),
                (&tenant.tier.as_str(), Type::TEXT),
                (&tenant.credits, Type::INT8),
            ],
        )
        .await
    }

    /// A tenant with its ledger's sum.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<TenantReport>, StoreError> {
        self.optional(include_str!("../../sql/tenant.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// Makes an API key of 32 random bytes; `None` for an unknown tenant.
    pub async fn create_key(&self, tenant: TenantId) -> Result<Option<ApiKey>, StoreError> {
        let mut bytes = [0_u8; 32];
        OsRng.try_fill_bytes(&mut bytes).map_err(|error| StoreError::Unexpected(format!("no randomness: {error}")))?;
        let secret = format!("sk_{}", URL_SAFE_NO_PAD.encode(bytes));
        let id = Uuid::now_v7();
        let made: bool = self
            .one(
                include_str!("../../sql/create_key.sql"),
                &[(&id, Type::UUID), (&tenant.0, Type::UUID), (&KeyHash::of(&secret).0.as_slice(), Type::BYTEA)],
            )
            .await?;
        Ok(made.then(|| ApiKey { id, secret: SecretString::from(secret) }))
    }

    /// Revokes a key at once; false when the tenant has no such key. Safe to repeat.
    pub async fn revoke_key(&self, tenant: TenantId, key: Uuid) -> Result<bool, StoreError> {
        self.one(include_str!("../../sql/revoke_key.sql"), &[(&tenant.0, Type::UUID), (&key, Type::UUID)]).await
    }

    /// Adds `amount` (or takes it, when negative, as far as the balance goes below 0 by nothing) and answers the balance; `None` for an unknown
    /// tenant, `Some(Err(balance))` when the balance would fall below 0.
    pub async fn grant_credits(
        &self,
        tenant: TenantId,
        amount: i64,
        reason: &str,
    ) -> Result<Option<Result<i64, i64>>, StoreError> {
        #[derive(Deserialize)]
        struct Granted {
            granted: bool,
            balance: i64,
        }
        let granted: Option<Granted> = self
            .optional(
                include_str!("../../sql/grant_credits.sql"),
                &[(&tenant.0, Type::UUID), (&amount, Type::INT8), (&reason, Type::TEXT)],
            )
            .await?;
        Ok(granted.map(|g| if g.granted { Ok(g.balance) } else { Err(g.balance) }))
    }

    /// Dead analyses, the latest death first, `limit` at most; discarded ones are not among them.
    pub async fn dead(&self, limit: u32) -> Result<Vec<DeadJob>, StoreError> {
        self.many(include_str!("../../sql/dead.sql"), &[(&i64::from(limit.clamp(1, 1000)), Type::INT8)]).await
    }

    /// Runs a dead analysis again from the beginning. See [`ReplayOutcome`].
    pub async fn replay(&self, id: JobId) -> Result<ReplayOutcome, StoreError> {
        let tiers = Json(&self.policy.tiers);
        self.one(include_str!("../../sql/replay.sql"), &[(&id.0, Type::UUID), (&tiers, Type::JSONB)]).await
    }

    /// Takes a dead analysis off the list of dead ones for good; false when it is not on it.
    pub async fn discard(&self, id: JobId) -> Result<bool, StoreError> {
        self.one(include_str!("../../sql/discard.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// Every queue, in the order of kinds and lanes.
    pub async fn lanes(&self) -> Result<Vec<QueueStats>, StoreError> {
        self.many(include_str!("../../sql/lanes.sql"), &[]).await
    }

    /// Stops claims from a queue, or lets them go on. Running jobs are left alone. Answers the queue, once for each job that has become claimable by it.
    pub async fn pause(&self, kind: Kind, lane: Lane, paused: bool) -> Result<Vec<Queue>, StoreError> {
        self.one(
            include_str!("../../sql/pause.sql"),
            &[(&kind.as_str(), Type::TEXT), (&lane.as_str(), Type::TEXT), (&paused, Type::BOOL)],
        )
        .await
    }

    /// Everyone's analyses.
    pub async fn all_jobs(&self, filter: &JobFilter) -> Result<JobPage, StoreError> {
        self.list(None, filter).await
    }

    /// Anyone's job, children included.
    pub async fn any_job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.job_of(None, id).await
    }
}
