//! What admins change and read: tenants, API keys, credits, dead jobs and queues.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use rand::{TryRngCore as _, rngs::OsRng};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use switchyard_contract::{Kind, Lane, QueueStats, Tier};
use tokio_postgres::types::{Json, Type};
use uuid::Uuid;

use super::{
    connect::Store,
    error::StoreError,
    reads::{JobFilter, JobPage},
    submission::KeyHash,
};
use crate::model::{Effects, FailedAttempt, Job, JobId, Queue, TenantId};

/// A tenant to be created.
#[derive(Debug, Clone)]
pub struct NewTenant<'a> {
    pub name: &'a str,
    pub tier: Tier,
    /// Initial credits; not negative.
    pub credits: i64,
}

/// A tenant with its balance and its ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantReport {
    pub id: TenantId,
    pub name: String,
    pub tier: Tier,
    pub credits: i64,
    /// Sum of the tenant's ledger. It always equals `credits`.
    pub ledger_sum: i64,
    pub running: u32,
    pub today: u32,
    pub created_at: DateTime<Utc>,
}

/// A new API key. `secret` is returned once and not stored.
pub struct ApiKey {
    pub id: Uuid,
    pub secret: SecretString,
}

/// A dead analysis with its failed attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadJob {
    pub job: Job,
    pub failures: Vec<FailedAttempt>,
    /// Dead children, each with its own failed attempts.
    pub children: Vec<DeadChild>,
}

/// A dead child of a dead analysis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadChild {
    pub id: JobId,
    pub kind: Kind,
    pub failures: Vec<FailedAttempt>,
}

/// The answer to a replay. The credits were refunded when the analysis died, so a replay charges
/// them again.
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
    /// The tenant has as many unfinished analyses as its tier allows.
    ConcurrentLimit {
        limit: u32,
        /// Seconds after which one of them may have ended.
        retry_after: u64,
    },
    /// Queued again from the beginning, with all its attempts. The daily limit does not apply.
    Replayed {
        job: Job,
        charged: i64,
        balance: i64,
        effects: Effects,
    },
}

impl Store {
    /// Creates a tenant. Its initial credits are the first entry of its ledger.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn create_tenant(&self, tenant: &NewTenant<'_>) -> Result<TenantReport, StoreError> {
        self.database
            .primary()
            .one(
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

    /// A tenant with the sum of its ledger; `None` if there is no such tenant.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn tenant(&self, id: TenantId) -> Result<Option<TenantReport>, StoreError> {
        self.database.primary().optional(include_str!("../../sql/tenant.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// Creates an API key of 32 random bytes; `None` if there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError::Unexpected`] if the system has no randomness, else any [`StoreError`].
    pub async fn create_key(&self, tenant: TenantId) -> Result<Option<ApiKey>, StoreError> {
        let mut bytes = [0_u8; 32];
        OsRng.try_fill_bytes(&mut bytes).map_err(|error| StoreError::Unexpected(format!("no randomness: {error}")))?;
        let secret = format!("sk_{}", URL_SAFE_NO_PAD.encode(bytes));
        let id = Uuid::now_v7();
        let created: bool = self
            .database
            .primary()
            .one(
                include_str!("../../sql/create_key.sql"),
                &[(&id, Type::UUID), (&tenant.0, Type::UUID), (&KeyHash::of(&secret).0.as_slice(), Type::BYTEA)],
            )
            .await?;
        Ok(created.then(|| ApiKey { id, secret: SecretString::from(secret) }))
    }

    /// Revokes a key at once; false if the tenant has no such key. Safe to repeat.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn revoke_key(&self, tenant: TenantId, key: Uuid) -> Result<bool, StoreError> {
        self.database
            .primary()
            .one(include_str!("../../sql/revoke_key.sql"), &[(&tenant.0, Type::UUID), (&key, Type::UUID)])
            .await
    }

    /// Adds `amount` credits, which may be negative, and returns the new balance. `None` if there
    /// is no such tenant; `Some(Err(balance))` if the balance would fall below 0.
    ///
    /// # Errors
    /// Any [`StoreError`].
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
            .database
            .primary()
            .optional(
                include_str!("../../sql/grant_credits.sql"),
                &[(&tenant.0, Type::UUID), (&amount, Type::INT8), (&reason, Type::TEXT)],
            )
            .await?;
        Ok(granted.map(|g| if g.granted { Ok(g.balance) } else { Err(g.balance) }))
    }

    /// Dead analyses that are not discarded, the latest death first, `limit` (1..=1000) at most.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn dead(&self, limit: u32) -> Result<Vec<DeadJob>, StoreError> {
        self.database
            .primary()
            .many(include_str!("../../sql/dead.sql"), &[(&i64::from(limit.clamp(1, 1000)), Type::INT8)])
            .await
    }

    /// Queues a dead analysis again, from the beginning. See [`ReplayOutcome`].
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn replay(&self, id: JobId) -> Result<ReplayOutcome, StoreError> {
        let tiers = Json(&self.database.policy.tiers);
        self.database
            .primary()
            .one(include_str!("../../sql/replay.sql"), &[(&id.0, Type::UUID), (&tiers, Type::JSONB)])
            .await
    }

    /// Discards a dead analysis: it can no longer be replayed. False if it is not among the dead
    /// ones.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn discard(&self, id: JobId) -> Result<bool, StoreError> {
        self.database.primary().one(include_str!("../../sql/discard.sql"), &[(&id.0, Type::UUID)]).await
    }

    /// Statistics of every queue, in the order of kinds and lanes.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn lanes(&self) -> Result<Vec<QueueStats>, StoreError> {
        self.database.primary().many(include_str!("../../sql/lanes.sql"), &[]).await
    }

    /// Pauses or resumes claims from a queue. Running jobs are not affected. Returns the queue once
    /// for each job that has become claimable.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn pause(&self, kind: Kind, lane: Lane, paused: bool) -> Result<Vec<Queue>, StoreError> {
        self.database
            .primary()
            .one(
                include_str!("../../sql/pause.sql"),
                &[(&kind.as_str(), Type::TEXT), (&lane.as_str(), Type::TEXT), (&paused, Type::BOOL)],
            )
            .await
    }

    /// Analyses of all tenants, newest first.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn all_jobs(&self, filter: &JobFilter) -> Result<JobPage, StoreError> {
        self.list(None, filter).await
    }

    /// A job of any tenant, children included.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn any_job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.job_of(None, id).await
    }
}
