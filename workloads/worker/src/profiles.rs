//! Where an analysis gets its profile from: the source, or, while that is away, what it gave within the last day.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use switchyard_jobs::{cache::Cache, model::TenantId, resilience::breaker::State};

use crate::{
    apify::{Apify, SourceError},
    gate::Gate,
    metrics::Metrics,
    profile::Scraped,
};

/// What a run needs at least: later than this before the deadline none is begun.
const LEAST: Duration = Duration::from_secs(5);

/// A profile that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub username: &'a str,
    pub tenant: TenantId,
    /// Whether the caller wants it from the source and nowhere else.
    pub fresh: bool,
    /// Whether the job is dead when this attempt fails.
    pub last_attempt: bool,
}

/// A profile, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    #[serde(flatten)]
    pub scraped: Scraped,
    /// How old it is in seconds; none when the source has just given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
}

/// The source with all that stands around it.
pub struct Profiles {
    apify: Apify,
    gate: Gate,
    cache: Cache,
    metrics: Arc<Metrics>,
}

impl Profiles {
    pub fn new(apify: Apify, gate: Gate, cache: Cache, metrics: Arc<Metrics>) -> Self {
        Self { apify, gate, cache, metrics }
    }

    /// The profile from the source. When that is left alone, or fails the last attempt in a way that might pass, the profile that was kept, unless a fresh
    /// one is wanted.
    pub async fn find(&self, wanted: Wanted<'_>, deadline: Instant) -> Result<Found, SourceError> {
        let error = match self.fetch(wanted, deadline).await {
            Ok(scraped) => {
                if let Ok(document) = serde_json::to_value(&scraped) {
                    self.cache.put_profile(wanted.username, &document).await;
                }
                return Ok(Found { scraped, age_seconds: None });
            }
            Err(error) => error,
        };
        let hopeless = wanted.last_attempt || self.gate.breaker.state() != State::Closed;
        if wanted.fresh || error.is_permanent() || !hopeless {
            return Err(error);
        }
        let Some(found) = self.kept(wanted.username).await else { return Err(error) };
        tracing::warn!(%error, age_seconds = found.age_seconds, "the profile that was kept stands in");
        self.metrics.source_stood_in();
        Ok(found)
    }

    async fn fetch(&self, wanted: Wanted<'_>, deadline: Instant) -> Result<Scraped, SourceError> {
        let latest = deadline.checked_sub(LEAST).unwrap_or(deadline);
        let permit = self.gate.enter(wanted.tenant, latest.into()).await?;
        self.apify.profile(wanted.username, permit, deadline).await
    }

    async fn kept(&self, username: &str) -> Option<Found> {
        let (document, age) = self.cache.profile(username).await?;
        let scraped = serde_json::from_value(document).ok()?;
        Some(Found { scraped, age_seconds: Some(age.as_secs()) })
    }
}
