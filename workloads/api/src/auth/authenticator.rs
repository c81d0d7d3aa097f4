//! The authenticator: it limits the rate of a presented key and finds its tenant.

use switchyard_jobs::{
    cache::Epoch,
    model::TenantId,
    store::{KeyHash, Store, failover::track_stale_reads},
};

use crate::{
    auth::{
        admin_key::AdminKey,
        bearer::unknown_key,
        key_cache::{FRESH, KeyCache, KeyStatus, STALE},
        rate_limit::RateLimiter,
        unknown_keys::UnknownKeyLimiter,
    },
    http::problem::{Problem, ProblemType},
};

/// Authenticates callers.
pub struct Authenticator {
    pub store: Store,
    pub admin_key: AdminKey,
    pub rate_limiter: RateLimiter,
    pub keys: KeyCache,
    pub unknown_keys: UnknownKeyLimiter,
}

/// The hash of the caller's key, within its rate limit, and not yet looked up.
#[derive(Clone, Copy)]
pub struct PresentedKey {
    pub hash: KeyHash,
    /// Whether the key holds a token of the limiter of unknown keys.
    holds_token: bool,
}

impl Authenticator {
    /// Accepts a key within the rate limits.
    ///
    /// # Errors
    /// `rate-limited`, or `unauthenticated` for a key that was unknown some seconds ago.
    pub async fn present(&self, key: &str) -> Result<PresentedKey, Problem> {
        let hash = KeyHash::of(key);
        let status = self.keys.status(&hash);
        self.rate_limiter.take(status.rate_key(&hash)).await?;
        match status {
            KeyStatus::Invalid => Err(unknown_key()),
            KeyStatus::Known(_) => Ok(PresentedKey { hash, holds_token: false }),
            KeyStatus::Unknown => match self.unknown_keys.acquire() {
                Ok(()) => Ok(PresentedKey { hash, holds_token: true }),
                Err(wait) => {
                    let detail = "The server receives too many calls with unknown keys. Try again.";
                    Err(Problem::new(ProblemType::RateLimited, detail).retry_after(wait))
                }
            },
        }
    }

    /// Records that a query found the key, or that the database did not answer.
    pub fn release(&self, key: &PresentedKey) {
        if key.holds_token {
            self.unknown_keys.release();
        }
    }

    /// Records that a query did not find the key; answers the refusal.
    pub fn reject(&self, key: &PresentedKey) -> Problem {
        self.keys.reject(key.hash);
        unknown_key()
    }

    /// Looks up the tenant of the key in the database.
    ///
    /// # Errors
    /// `unauthenticated` if the key is unknown or revoked, `unavailable` if the database does not
    /// answer.
    pub async fn tenant(&self, key: &PresentedKey) -> Result<TenantId, Problem> {
        let epoch = self.keys.epoch();
        let (found, by_replica) = track_stale_reads(self.store.authenticate(key.hash)).await;
        match found {
            Ok(Some(tenant)) => {
                self.release(key);
                // A replica may lag behind the revocation of the key.
                self.keys.confirm(key.hash, tenant.id, epoch.filter(|_| !by_replica));
                Ok(tenant.id)
            }
            // It may also lag behind the creation of the key.
            Ok(None) if by_replica => {
                self.release(key);
                Err(Problem::unavailable(
                    "The database is unavailable, and its replica does not have the key. Try again.",
                ))
            }
            Ok(None) => Err(self.reject(key)),
            Err(error) => {
                self.release(key);
                Err(error.into())
            }
        }
    }

    /// The tenant of the key for an answer from the cache, of which `epoch` was just read. A key
    /// that was valid lately needs no query; while the database is unavailable it is trusted for
    /// longer.
    ///
    /// # Errors
    /// As [`Authenticator::tenant`].
    pub async fn trusted_tenant(&self, key: &PresentedKey, epoch: Option<Epoch>) -> Result<TenantId, Problem> {
        if let Some(tenant) = self.keys.trusted(&key.hash, epoch, FRESH) {
            return Ok(tenant);
        }
        match self.tenant(key).await {
            Err(problem) if problem.kind == ProblemType::Unavailable => {
                self.keys.trusted(&key.hash, epoch, STALE).ok_or(problem)
            }
            found => found,
        }
    }
}
