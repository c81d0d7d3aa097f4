//! The key cache: what this process knows of API keys without a query.

use std::{collections::HashMap, time::Duration};

use parking_lot::{Mutex, RwLock};
use switchyard_jobs::{cache::Epoch, model::TenantId, store::KeyHash};
use tokio::time::Instant;

use crate::auth::rate_limit::RateKey;

/// For how long a valid key is trusted within its epoch while the database is available.
pub const FRESH: Duration = Duration::from_mins(1);
/// The same while the database is unavailable.
pub const STALE: Duration = Duration::from_mins(10);
/// For how long an unknown key is refused without a query. Keys are random, so that none is used
/// before it exists.
const INVALID: Duration = Duration::from_secs(10);
/// Keys in the cache; the cache is cleared when there are more.
const CAPACITY: usize = 50_000;

/// A key with a known tenant.
#[derive(Debug, Clone, Copy)]
struct CachedKey {
    tenant: TenantId,
    /// The last query that found the key, with the epoch that was read before it.
    confirmed: Option<(Epoch, Instant)>,
}

/// The keys that this process has seen.
///
/// An epoch of the shared cache ends with every revocation. A key is trusted only within the epoch
/// in which it was valid.
#[derive(Default)]
pub struct KeyCache {
    known: RwLock<HashMap<KeyHash, CachedKey>>,
    invalid: Mutex<HashMap<KeyHash, Instant>>,
    epoch: Mutex<Option<Epoch>>,
}

/// What the cache knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// The key of this tenant at the last query. It may be revoked since: this only lets all keys
    /// of a tenant share one rate limit.
    Known(TenantId),
    Unknown,
    /// The database did not know it some seconds ago.
    Invalid,
}

impl KeyStatus {
    /// The rate limit that calls with the key count against.
    pub fn rate_key(self, key: &KeyHash) -> RateKey {
        match self {
            Self::Known(tenant) => RateKey::Tenant(tenant),
            Self::Unknown | Self::Invalid => {
                let mut part = [0; 8];
                part.copy_from_slice(&key.0[..8]);
                RateKey::Key(part)
            }
        }
    }
}

impl KeyCache {
    /// What the cache knows of a key.
    pub fn status(&self, key: &KeyHash) -> KeyStatus {
        if let Some(cached) = self.known.read().get(key) {
            return KeyStatus::Known(cached.tenant);
        }
        let invalid = self.invalid.lock();
        match invalid.get(key) {
            Some(since) if since.elapsed() < INVALID => KeyStatus::Invalid,
            _ => KeyStatus::Unknown,
        }
    }

    /// Records the epoch that was read; `None` if the shared cache has none.
    pub fn set_epoch(&self, epoch: Option<Epoch>) {
        *self.epoch.lock() = epoch;
    }

    /// The epoch that was read last. Read it before the query of a key, and pass it to
    /// [`KeyCache::confirm`].
    pub fn epoch(&self) -> Option<Epoch> {
        *self.epoch.lock()
    }

    /// Records that a query after `epoch` was read found the tenant of the key.
    pub fn confirm(&self, key: KeyHash, tenant: TenantId, epoch: Option<Epoch>) {
        let is_recent = |cached: &CachedKey| match (cached.confirmed, epoch) {
            (Some((confirmed, at)), Some(epoch)) => confirmed == epoch && at.elapsed() < FRESH / 4,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        let known = self.known.read();
        if known.get(&key).is_some_and(|cached| cached.tenant == tenant && is_recent(cached)) {
            return;
        }
        drop(known);
        let mut known = self.known.write();
        if known.len() >= CAPACITY && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, CachedKey { tenant, confirmed: epoch.map(|epoch| (epoch, Instant::now())) });
    }

    /// Records that the database does not know the key, or that it is revoked.
    pub fn reject(&self, key: KeyHash) {
        self.known.write().remove(&key);
        let mut invalid = self.invalid.lock();
        if invalid.len() >= CAPACITY {
            invalid.clear();
        }
        invalid.insert(key, Instant::now());
    }

    /// The tenant of the key, if the key was valid within `epoch`, which was just read, and at most
    /// `age` ago.
    pub fn trusted(&self, key: &KeyHash, epoch: Option<Epoch>, age: Duration) -> Option<TenantId> {
        let known = self.known.read();
        let cached = known.get(key)?;
        let (confirmed, at) = cached.confirmed?;
        (Some(confirmed) == epoch && at.elapsed() <= age).then_some(cached.tenant)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use switchyard_jobs::{cache::Cache, testing::redis};
    use uuid::Uuid;

    use super::*;

    fn tenant() -> TenantId {
        TenantId(Uuid::new_v4())
    }

    async fn two_epochs() -> (Option<Epoch>, Option<Epoch>) {
        let uri = SecretString::from(redis().await.database());
        let cache = Cache::connect(&uri, Duration::ZERO).unwrap();
        let first = cache.lookup("a").await.unwrap().epoch;
        cache.end_epoch().await.unwrap();
        (first, cache.lookup("a").await.unwrap().epoch)
    }

    #[tokio::test]
    async fn key_is_trusted_within_the_epoch_in_which_it_was_valid() {
        let (keys, key, tenant) = (KeyCache::default(), KeyHash::of("one"), tenant());
        let (first, second) = two_epochs().await;
        assert_eq!(keys.trusted(&key, first, STALE), None, "no query has found it");
        keys.confirm(key, tenant, first);
        assert_eq!(keys.trusted(&key, first, FRESH), Some(tenant));
        assert_eq!(keys.trusted(&key, second, STALE), None, "a key was revoked since");
        assert_eq!(keys.trusted(&key, None, STALE), None, "the cache has no epoch");
        keys.confirm(key, tenant, second);
        assert_eq!(keys.trusted(&key, second, FRESH), Some(tenant));
        assert_eq!(keys.trusted(&key, second, Duration::ZERO), None, "it was valid too long ago");
        keys.reject(key);
        assert_eq!(keys.trusted(&key, second, STALE), None);
        assert_eq!(keys.status(&key), KeyStatus::Invalid);
    }

    #[test]
    fn key_confirmed_without_an_epoch_is_known_and_not_trusted() {
        let (keys, key, tenant) = (KeyCache::default(), KeyHash::of("one"), tenant());
        keys.confirm(key, tenant, None);
        assert_eq!(keys.status(&key), KeyStatus::Known(tenant));
        assert_eq!(keys.trusted(&key, None, STALE), None);
    }

    #[test]
    fn known_keys_of_a_tenant_share_a_rate_limit() {
        let (keys, tenant) = (KeyCache::default(), tenant());
        let (one, other) = (KeyHash::of("one"), KeyHash::of("other"));
        let rate_key = |key| keys.status(&key).rate_key(&key);
        assert_ne!(rate_key(one), rate_key(other));
        keys.confirm(one, tenant, None);
        keys.confirm(other, tenant, None);
        assert_eq!(rate_key(one), rate_key(other));
    }
}
