//! A client of Apify's API v2: starts a run of the profile scraper, polls it and reads its dataset.
//!
//! Protocol: <https://docs.apify.com/api/v2>.

mod error;
mod http;
mod run;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use switchyard_contract::ProfileSource;
use switchyard_jobs::resilience::{Breaker, Permit, full_jitter};
use tokio::time::sleep;
use url::Url;

pub use self::error::SourceError;
use self::{
    http::Http,
    run::{AbortOnDrop, Envelope, Run, RunState},
};
use crate::{metrics::Metrics, profile::ScrapedProfile};

/// Limits of the client.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Timeout of a response, on top of the time that the server is asked to wait.
    pub response: Duration,
    /// How long one poll asks the server to wait for a run: whole seconds, at most 60.
    pub wait: Duration,
    /// Items of one page.
    pub page_items: usize,
    /// Most bytes of one response.
    pub response_bytes: usize,
    /// Most items of one run that are read.
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            response: Duration::from_secs(15),
            wait: Duration::from_secs(20),
            page_items: 100,
            response_bytes: 16 * 1024 * 1024,
            items: 1000,
        }
    }
}

/// Tries of an idempotent call.
const MAX_TRIES: u32 = 3;
/// Least time left for another poll.
const MIN_POLL_TIME: Duration = Duration::from_secs(1);

/// The time of an attempt.
struct TimeBudget {
    began: Instant,
    deadline: Instant,
}

impl TimeBudget {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn timeout_error(&self) -> SourceError {
        SourceError::OutOfTime(self.deadline.saturating_duration_since(self.began))
    }
}

/// A client for one actor with one token.
pub struct Apify {
    http: Http,
    actor: String,
    limits: Limits,
    /// Counts the calls that follow a start. The start itself uses a permit.
    breaker: Breaker,
    metrics: Arc<Metrics>,
}

impl Apify {
    /// A client for `source` that authenticates with `token`.
    ///
    /// # Errors
    /// The endpoint is not an http or https URL.
    pub fn new(
        source: &ProfileSource,
        token: SecretString,
        limits: Limits,
        breaker: Breaker,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let endpoint = source.endpoint.trim_end_matches('/').trim_end_matches("/v2");
        let base = Url::parse(&format!("{endpoint}/v2/"))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
            anyhow::anyhow!("profileSource.endpoint '{}' is not an http or https URL", source.endpoint)
        })?;
        let http = Http::new(base, token, limits.response_bytes)?;
        // Apify's store writes `owner/name`, its API `owner~name`.
        let actor = source.actor.replace('/', "~");
        Ok(Self { http, actor, limits, breaker, metrics })
    }

    /// Scrapes the profile of `username` with its newest posts. The run is aborted at `deadline`,
    /// or when the future is dropped.
    ///
    /// # Errors
    /// [`SourceError`]; a profile that does not exist is [`SourceError::NoProfile`].
    pub async fn profile(
        &self,
        username: &str,
        permit: Permit,
        deadline: Instant,
    ) -> Result<ScrapedProfile, SourceError> {
        let began = Instant::now();
        let found = self.scrape(username, permit, deadline).await;
        let outcome = found.as_ref().map_or_else(SourceError::code, |_| "found");
        debug_assert!(SourceError::OUTCOMES.contains(&outcome), "unlisted outcome {outcome}");
        self.metrics.source_call(outcome, began.elapsed());
        found
    }

    async fn scrape(&self, username: &str, permit: Permit, deadline: Instant) -> Result<ScrapedProfile, SourceError> {
        let items = self.run(&[username], permit, deadline).await?;
        let no_profile = || SourceError::NoProfile(username.to_owned());
        let item = items.first().ok_or_else(no_profile)?;
        if let Some(error) = item["error"].as_str() {
            let detail = self.http.redact(item["errorDescription"].as_str().unwrap_or_default());
            return Err(match error {
                "not_found" | "no_items" => no_profile(),
                other => SourceError::Unavailable(format!("the scraper says {}: {detail}", self.http.redact(other))),
            });
        }
        ScrapedProfile::parse(item).ok_or_else(|| SourceError::Garbage("the item has no username".to_owned()))
    }

    /// Runs the actor for `usernames` and returns the items of its dataset, at most
    /// [`Limits::items`].
    ///
    /// # Errors
    /// [`SourceError::RunEnded`] if the run did not succeed, [`SourceError::OutOfTime`] at
    /// `deadline`.
    pub async fn run(&self, usernames: &[&str], permit: Permit, deadline: Instant) -> Result<Vec<Value>, SourceError> {
        let time = TimeBudget { began: Instant::now(), deadline };
        let mut run = self.start(usernames, permit, &time).await?;
        let abort = AbortOnDrop::new(self.http.post(&["actor-runs", &run.id, "abort"]), &run.id);
        loop {
            match run.state() {
                RunState::Succeeded => {
                    abort.disarm();
                    return self.items(&run.default_dataset_id, &time).await;
                }
                RunState::Running => {}
                RunState::Failed => {
                    abort.disarm();
                    let message = self.http.redact(run.status_message.as_deref().unwrap_or("no reason given"));
                    return Err(SourceError::RunEnded { status: self.http.redact(&run.status), message });
                }
            }
            let left = time.left();
            if left < MIN_POLL_TIME {
                return Err(time.timeout_error());
            }
            run = self.poll(&run.id, self.limits.wait.min(left), &time).await?;
        }
    }

    /// Starts a run. Never retried here, because each run costs the account money.
    async fn start(&self, usernames: &[&str], permit: Permit, time: &TimeBudget) -> Result<Run, SourceError> {
        let left = time.left();
        // Apify ends the run itself at the end of the attempt.
        let timeout = left.as_secs().max(1).to_string();
        let request = self
            .http
            .post(&["acts", &self.actor, "runs"])
            .query(&[("timeout", timeout.as_str())])
            .json(&json!({"usernames": usernames}))
            .timeout(self.limits.response.min(left));
        let started = async {
            let response = self.http.send(request).await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Err(SourceError::Actor { actor: self.actor.clone() });
            }
            self.http.parse::<Envelope<Run>>(response).await
        }
        .await;
        match &started {
            Err(SourceError::Unavailable(_)) => permit.failed(),
            _ => permit.succeeded(),
        }
        Ok(started?.data)
    }

    async fn poll(&self, run: &str, wait: Duration, time: &TimeBudget) -> Result<Run, SourceError> {
        let seconds = wait.as_secs().to_string();
        let request = || self.http.get(&["actor-runs", run]).query(&[("waitForFinish", seconds.as_str())]);
        let envelope: Envelope<Run> = self.read(request, self.limits.response + wait, time).await?;
        Ok(envelope.data)
    }

    /// Reads pages until one is shorter than the limit. The total in the header is not used,
    /// because it lags behind the items.
    async fn items(&self, dataset: &str, time: &TimeBudget) -> Result<Vec<Value>, SourceError> {
        let mut items: Vec<Value> = Vec::new();
        while items.len() < self.limits.items {
            let (offset, limit) = (items.len().to_string(), self.limits.page_items.to_string());
            let query = [("clean", "true"), ("format", "json"), ("offset", &offset), ("limit", &limit)];
            let request = || self.http.get(&["datasets", dataset, "items"]).query(&query);
            let page: Vec<Value> = self.read(request, self.limits.response, time).await?;
            let last = page.len() < self.limits.page_items;
            items.extend(page);
            if last {
                break;
            }
        }
        Ok(items)
    }

    /// Sends an idempotent call and retries it while the source is unavailable and time is left.
    /// `limit` is the timeout of one try.
    async fn read<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
        limit: Duration,
        time: &TimeBudget,
    ) -> Result<T, SourceError> {
        let mut attempt = 0;
        loop {
            let response = self.http.request(request().timeout(limit.min(time.left()))).await;
            match &response {
                Ok(_) => self.breaker.record_success(),
                Err(_) if time.left().is_zero() => return Err(time.timeout_error()),
                Err(SourceError::Unavailable(_)) => {
                    attempt += 1;
                    if attempt < MAX_TRIES {
                        sleep(full_jitter(attempt).min(time.left())).await;
                        continue;
                    }
                    self.breaker.record_failure();
                }
                Err(_) => {}
            }
            return response;
        }
    }
}
