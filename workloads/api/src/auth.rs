//! Who is calling.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use switchyard_jobs::{model::TenantId, store::KeyHash};

use crate::{
    problem::{Problem, ProblemType},
    state::{App, store_problem},
};

/// Longer than any key that was ever given out.
const LONGEST_KEY: usize = 256;

/// The key in `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthenticated("The request carries no key; send it as 'Authorization: Bearer <key>'."));
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .filter(|key| !key.is_empty() && key.len() <= LONGEST_KEY)
        .ok_or_else(|| unauthenticated("The header 'Authorization' is not of the form 'Bearer <key>'."))
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(ProblemType::Unauthenticated, detail)
}

/// The refusal of a key that is not known, or not any more.
pub fn unknown_key() -> Problem {
    unauthenticated("The key is not known, or was revoked.")
}

/// The hash of the key that the caller sent, not looked up yet; rate-limited.
pub struct PresentedKey(pub KeyHash);

impl FromRequestParts<App> for PresentedKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let hash = KeyHash::of(bearer(&parts.headers)?);
        app.limiter.take(&app.identities.bucket(&hash)).await?;
        Ok(Self(hash))
    }
}

/// A tenant whose key was looked up.
pub struct Caller {
    pub tenant: TenantId,
}

impl Caller {
    /// Looks a key up.
    pub async fn of(app: &App, key: KeyHash) -> Result<Self, Problem> {
        let tenant = app.store.authenticate(key).await.map_err(store_problem)?.ok_or_else(unknown_key)?;
        app.identities.remember(key, tenant.id);
        Ok(Self { tenant: tenant.id })
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let PresentedKey(hash) = PresentedKey::from_request_parts(parts, app).await?;
        Self::of(app, hash).await
    }
}

/// A caller with the admin key.
pub struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match app.admin_key.matches(bearer(&parts.headers)?) {
            true => Ok(Self),
            false => Err(unauthenticated("This needs the platform's admin key.")),
        }
    }
}

/// Which tenant a key belonged to when it was last seen. Not a proof of anything (keys are revoked): it only lets all keys of a tenant share one
/// rate before the key has been looked up.
#[derive(Default)]
pub struct Identities(RwLock<HashMap<KeyHash, TenantId>>);

impl Identities {
    const MOST: usize = 10_000;

    /// Remembers whose key this is.
    pub fn remember(&self, key: KeyHash, tenant: TenantId) {
        if self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(&key) {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(key, tenant);
    }

    /// Under which name the key's calls are counted.
    pub fn bucket(&self, key: &KeyHash) -> String {
        match self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            Some(tenant) => format!("tenant:{tenant}"),
            // Part of the hash, so that the store of counters holds nothing that opens anything.
            None => format!("key:{}", hex::encode(&key.0[..8])),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key_in(value: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        bearer(&headers).ok().map(str::to_owned)
    }

    #[test]
    fn the_key_is_what_follows_bearer() {
        assert_eq!(key_in("Bearer sk_1").as_deref(), Some("sk_1"));
        assert_eq!(key_in("bearer  sk_1 ").as_deref(), Some("sk_1"));
        assert_eq!(key_in("Basic sk_1"), None);
        assert_eq!(key_in("Bearer"), None);
        assert_eq!(key_in("Bearer "), None);
        assert_eq!(key_in(&format!("Bearer {}", "x".repeat(257))), None);
    }

    #[test]
    fn keys_of_one_tenant_share_a_bucket_once_they_are_known() {
        let (identities, tenant) = (Identities::default(), TenantId(uuid::Uuid::nil()));
        let (one, other) = (KeyHash::of("one"), KeyHash::of("other"));
        assert_ne!(identities.bucket(&one), identities.bucket(&other));
        identities.remember(one, tenant);
        identities.remember(other, tenant);
        assert_eq!(identities.bucket(&one), identities.bucket(&other));
    }
}
