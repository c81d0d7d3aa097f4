//! What this process knows of keys without asking the database.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use switchyard_jobs::{cache::Epoch, model::TenantId, store::KeyHash};
use tokio::time::Instant;

use crate::auth::rate_limit::Bucket;

/// For how long a key that was found valid is taken for valid within its epoch, while the database could be asked.
pub const FRESH: Duration = Duration::from_secs(60);
/// The same while the database is away.
pub const STALE: Duration = Duration::from_secs(600);
/// How long a key that was found wrong is refused without a look. Keys are random: nobody has one before it was made.
const WRONG: Duration = Duration::from_secs(10);
/// Keys that are kept in mind; all are forgotten when there are more.
const MOST: usize = 50_000;

/// A key whose tenant is known.
#[derive(Debug, Clone, Copy)]
struct Identity {
    tenant: TenantId,
    /// When the database said so last, and the epoch that was read before it was asked.
    confirmed: Option<(Epoch, Instant)>,
}

/// The keys that this process has seen.
#[derive(Default)]
pub struct Identities {
    known: RwLock<HashMap<KeyHash, Identity>>,
    wrong: Mutex<HashMap<KeyHash, Instant>>,
    epoch: Mutex<Option<Epoch>>,
}

/// What is known of a key when it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It belonged to this tenant when it was last looked up. No proof of anything (keys are revoked): it lets all keys of a tenant share one rate.
    Known(TenantId),
    Unknown,
    /// It was found wrong a moment ago.
    Wrong,
}

impl Seen {
    /// Under which name the key's calls are counted.
    pub fn bucket(self, key: &KeyHash) -> Bucket {
        match self {
            Self::Known(tenant) => Bucket::Tenant(tenant),
            Self::Unknown | Self::Wrong => {
                let mut part = [0; 8];
                part.copy_from_slice(&key.0[..8]);
                Bucket::Key(part)
            }
        }
    }
}

impl Identities {
    /// What is known of a key.
    pub fn seen(&self, key: &KeyHash) -> Seen {
        if let Some(identity) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Seen::Known(identity.tenant);
        }
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match wrong.get(key) {
            Some(since) if since.elapsed() < WRONG => Seen::Wrong,
            _ => Seen::Unknown,
        }
    }

    /// Notes the epoch that was read; `None` when there is none to be read.
    pub fn read_epoch(&self, epoch: Option<Epoch>) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    /// The epoch that was read last. To be kept from before the database is asked about a key until [`Identities::confirm`].
    pub fn epoch(&self) -> Option<Epoch> {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the database, asked after `epoch` was read, has said whose key this is.
    pub fn confirm(&self, key: KeyHash, tenant: TenantId, epoch: Option<Epoch>) {
        let lately = |identity: &Identity| match (identity.confirmed, epoch) {
            (Some((confirmed, at)), Some(epoch)) => confirmed == epoch && at.elapsed() < FRESH / 4,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.get(&key).is_some_and(|identity| identity.tenant == tenant && lately(identity)) {
            return;
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, Identity { tenant, confirmed: epoch.map(|epoch| (epoch, Instant::now())) });
    }

    /// Notes that the database does not know this key, or not any more.
    pub fn refuse(&self, key: KeyHash) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= MOST {
            wrong.clear();
        }
        wrong.insert(key, Instant::now());
    }

    /// Whose key this is, if it was found valid within `epoch`, which was just read, and at most `age` ago.
    pub fn trusted(&self, key: &KeyHash, epoch: Option<Epoch>, age: Duration) -> Option<TenantId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let identity = known.get(key)?;
        let (confirmed, at) = identity.confirmed?;
        (Some(confirmed) == epoch && at.elapsed() <= age).then_some(identity.tenant)
    }
}

/// How many look-ups of unknown keys the database is asked to bear: a bucket of this process alone. A look-up takes a token; the key that proves right
/// gives it back.
pub struct Strangers {
    per_second: f64,
    bucket: Mutex<(f64, Instant)>,
}

impl Strangers {
    /// So many wrong keys a second in the long run, and those of ten seconds at once.
    pub fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, bucket: Mutex::new((per_second * 10.0, Instant::now())) }
    }

    fn burst(&self) -> f64 {
        self.per_second * 10.0
    }

    /// Leave to ask the database about one unknown key, or how long to wait.
    pub fn admit(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, at) = &mut *bucket;
        let now = Instant::now();
        *tokens = (*tokens + (now - *at).as_secs_f64() * self.per_second).min(self.burst());
        *at = now;
        if *tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - *tokens) / self.per_second));
        }
        *tokens -= 1.0;
        Ok(())
    }

    /// The key was right, or nobody could say.
    pub fn give_back(&self) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.0 = (bucket.0 + 1.0).min(self.burst());
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
        let first = cache.look("a").await.unwrap().epoch;
        cache.end_epoch().await.unwrap();
        (first, cache.look("a").await.unwrap().epoch)
    }

    #[tokio::test]
    async fn a_key_is_trusted_within_the_epoch_in_which_it_was_found_valid() {
        let (identities, key, tenant) = (Identities::default(), KeyHash::of("one"), tenant());
        let (first, second) = two_epochs().await;
        assert_eq!(identities.trusted(&key, first, STALE), None, "nobody has looked it up");
        identities.confirm(key, tenant, first);
        assert_eq!(identities.trusted(&key, first, FRESH), Some(tenant));
        assert_eq!(identities.trusted(&key, second, STALE), None, "a key was revoked since");
        assert_eq!(identities.trusted(&key, None, STALE), None, "the cache has lost its memory");
        identities.confirm(key, tenant, second);
        assert_eq!(identities.trusted(&key, second, FRESH), Some(tenant));
        assert_eq!(identities.trusted(&key, second, Duration::ZERO), None, "it was found valid too long ago");
        identities.refuse(key);
        assert_eq!(identities.trusted(&key, second, STALE), None);
        assert_eq!(identities.seen(&key), Seen::Wrong);
    }

    #[test]
    fn a_key_that_was_looked_up_without_an_epoch_is_known_and_not_trusted() {
        let (identities, key, tenant) = (Identities::default(), KeyHash::of("one"), tenant());
        identities.confirm(key, tenant, None);
        assert_eq!(identities.seen(&key), Seen::Known(tenant));
        assert_eq!(identities.trusted(&key, None, STALE), None);
    }

    #[test]
    fn keys_of_one_tenant_share_a_bucket_once_they_are_known() {
        let (identities, tenant) = (Identities::default(), tenant());
        let (one, other) = (KeyHash::of("one"), KeyHash::of("other"));
        let bucket = |key| identities.seen(&key).bucket(&key);
        assert_ne!(bucket(one), bucket(other));
        identities.confirm(one, tenant, None);
        identities.confirm(other, tenant, None);
        assert_eq!(bucket(one), bucket(other));
    }

    #[test]
    fn wrong_keys_use_up_what_strangers_may_ask_and_right_ones_do_not() {
        let strangers = Strangers::new(100);
        for _ in 0..5000 {
            strangers.admit().unwrap();
            strangers.give_back();
        }
        let refused = (0..5000).find_map(|_| strangers.admit().err()).expect("the bucket has no bottom");
        assert!(refused <= Duration::from_millis(10), "{refused:?}");
    }
}
