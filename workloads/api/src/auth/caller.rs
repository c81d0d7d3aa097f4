//! Who is calling.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use switchyard_jobs::{
    cache::Epoch,
    model::TenantId,
    store::{KeyHash, failover::noticed},
};

use crate::{
    auth::key_cache::{FRESH, STALE, Seen},
    http::problem::{Problem, ProblemType},
    state::App,
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
pub struct PresentedKey {
    pub hash: KeyHash,
    /// Whether this process did not know it when it came in.
    stranger: bool,
}

impl FromRequestParts<App> for PresentedKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let hash = KeyHash::of(bearer(&parts.headers)?);
        let seen = app.identities.seen(&hash);
        app.limiter.take(seen.bucket(&hash)).await?;
        match seen {
            Seen::Wrong => Err(unknown_key()),
            Seen::Known(_) => Ok(Self { hash, stranger: false }),
            Seen::Unknown => match app.strangers.admit() {
                Ok(()) => Ok(Self { hash, stranger: true }),
                Err(wait) => {
                    let detail = "Too many calls come with keys that are not known here yet; try again.";
                    Err(Problem::new(ProblemType::RateLimited, detail).retry_after(wait))
                }
            },
        }
    }
}

impl PresentedKey {
    /// The database was asked about the key and knows it, or could not say.
    pub fn passed(&self, app: &App) {
        if self.stranger {
            app.strangers.give_back();
        }
    }

    /// The database was asked about the key and does not know it; answers the refusal.
    pub fn refused(&self, app: &App) -> Problem {
        app.identities.refuse(self.hash);
        unknown_key()
    }

    /// Whose key this is, by the database.
    pub async fn tenant(&self, app: &App) -> Result<TenantId, Problem> {
        let epoch = app.identities.epoch();
        let (found, by_replica) = noticed(app.store.authenticate(self.hash)).await;
        match found {
            Ok(Some(tenant)) => {
                self.passed(app);
                // A replica may not have heard yet that a key was revoked.
                app.identities.confirm(self.hash, tenant.id, epoch.filter(|_| !by_replica));
                Ok(tenant.id)
            }
            // Nor that it was made.
            Ok(None) if by_replica => {
                self.passed(app);
                Err(Problem::unavailable(
                    "The database is away, and what stands in for it does not know the key. Try again.",
                ))
            }
            Ok(None) => Err(self.refused(app)),
            Err(error) => {
                self.passed(app);
                Err(app.store_problem(error))
            }
        }
    }

    /// Whose key this is, for answers that come from the cache, which `epoch` was read from just now: without the database when it has said so lately,
    /// and for longer while it is away.
    pub async fn trusted_tenant(&self, app: &App, epoch: Option<Epoch>) -> Result<TenantId, Problem> {
        if let Some(tenant) = app.identities.trusted(&self.hash, epoch, FRESH) {
            return Ok(tenant);
        }
        match self.tenant(app).await {
            Err(problem) if problem.kind == ProblemType::Unavailable => {
                app.identities.trusted(&self.hash, epoch, STALE).ok_or(problem)
            }
            answer => answer,
        }
    }
}

/// A tenant whose key was looked up.
pub struct Caller {
    pub tenant: TenantId,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let key = PresentedKey::from_request_parts(parts, app).await?;
        Ok(Self { tenant: key.tenant(app).await? })
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
}
