//! Fetches a profile from the source, with a cached copy as the fallback.
//!
//! The cache keeps what the source returned within the last day.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use switchyard_jobs::{cache::Cache, model::TenantId, resilience::breaker::State};

use crate::{
    apify::{Apify, SourceError},
    metrics::Metrics,
    profile::ScrapedProfile,
    source_guard::SourceGuard,
};

/// Least time that a run needs: none starts later than this before the deadline.
const MIN_RUN_TIME: Duration = Duration::from_secs(5);

/// Which profile to fetch, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct ProfileRequest<'a> {
    pub username: &'a str,
    pub tenant: TenantId,
    /// Whether only the source will do: the cached copy is not used.
    pub fresh: bool,
    /// Whether a failure of this attempt makes the job dead.
    pub last_attempt: bool,
}

/// A profile, and how old it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedProfile {
    #[serde(flatten)]
    pub scraped: ScrapedProfile,
    /// Age of a cached copy in seconds; `None` if the source returned the profile just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
}

/// The profile source with its guard, and the cache behind it.
pub struct ProfileFetcher {
    apify: Apify,
    guard: SourceGuard,
    cache: Cache,
    metrics: Arc<Metrics>,
}

impl ProfileFetcher {
    pub fn new(apify: Apify, guard: SourceGuard, cache: Cache, metrics: Arc<Metrics>) -> Self {
        Self { apify, guard, cache, metrics }
    }

    /// Fetches a profile from the source before `deadline`.
    ///
    /// Falls back to the cached copy if the breaker is not closed, or on the last attempt. It does
    /// not do so for permanent errors, or if the request asks for a fresh profile.
    ///
    /// # Errors
    /// The source's error if there is no cached copy or it may not be used.
    pub async fn fetch(&self, request: ProfileRequest<'_>, deadline: Instant) -> Result<FetchedProfile, SourceError> {
        let error = match self.fetch_from_source(request, deadline).await {
            Ok(scraped) => {
                if let Ok(document) = serde_json::to_value(&scraped) {
                    self.cache.put_profile(request.username, &document).await;
                }
                return Ok(FetchedProfile { scraped, age_seconds: None });
            }
            Err(error) => error,
        };
        let no_retry_helps = request.last_attempt || self.guard.breaker.state() != State::Closed;
        if request.fresh || error.is_permanent() || !no_retry_helps {
            return Err(error);
        }
        let Some(cached) = self.cached(request.username).await else { return Err(error) };
        tracing::warn!(%error, age_seconds = cached.age_seconds, "fell back to cached profile");
        self.metrics.source_fallback();
        Ok(cached)
    }

    async fn fetch_from_source(
        &self,
        request: ProfileRequest<'_>,
        deadline: Instant,
    ) -> Result<ScrapedProfile, SourceError> {
        let latest = deadline.checked_sub(MIN_RUN_TIME).unwrap_or(deadline);
        let permit = self.guard.acquire(request.tenant, latest.into()).await?;
        self.apify.profile(request.username, permit, deadline).await
    }

    async fn cached(&self, username: &str) -> Option<FetchedProfile> {
        let (document, age) = self.cache.profile(username).await?;
        let scraped = serde_json::from_value(document).ok()?;
        Some(FetchedProfile { scraped, age_seconds: Some(age.as_secs()) })
    }
}
