//! A client of Apify's API, version 2: starts a run of the profile scraper, waits for it, and pages through its data set.

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
    run::{Envelope, Pending, Run, Standing},
};
use crate::{metrics::Metrics, profile::Scraped};

/// How much the client asks for and puts up with.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long an answer may take, on top of the time that the server was asked to wait.
    pub answer: Duration,
    /// How long the server is asked to wait for a run in one call; whole seconds, Apify allows 60.
    pub wait: Duration,
    /// Items of one page.
    pub page_items: usize,
    /// Bytes of one answer.
    pub answer_bytes: usize,
    /// Items of one run that are read at all.
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(15),
            wait: Duration::from_secs(20),
            page_items: 100,
            answer_bytes: 16 * 1024 * 1024,
            items: 1000,
        }
    }
}

/// Tries of a call that is safe to repeat.
const TRIES: u32 = 3;
/// With less than this left a run is not looked at once more.
const LEAST: Duration = Duration::from_secs(1);

/// The time that an attempt has.
struct Time {
    began: Instant,
    deadline: Instant,
}

impl Time {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn out(&self) -> SourceError {
        SourceError::OutOfTime(self.deadline.saturating_duration_since(self.began))
    }
}

/// A client for one actor with one token.
pub struct Apify {
    http: Http,
    actor: String,
    limits: Limits,
    /// Hears how calls go that follow a start; the start itself brings a permit.
    breaker: Breaker,
    metrics: Arc<Metrics>,
}

impl Apify {
    /// A client for `source`. Fails when the endpoint is not an http or https address.
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
            anyhow::anyhow!("profileSource.endpoint '{}' is not an http or https address", source.endpoint)
        })?;
        let http = Http::new(base, token, limits.answer_bytes)?;
        // The store writes `owner/name`, the API `owner~name`.
        let actor = source.actor.replace('/', "~");
        Ok(Self { http, actor, limits, breaker, metrics })
    }

    /// The profile of `username` with its newest posts; gives up at `deadline`. Given up or dropped, the run is aborted.
    pub async fn profile(&self, username: &str, permit: Permit, deadline: Instant) -> Result<Scraped, SourceError> {
        let began = Instant::now();
        let found = self.scrape(username, permit, deadline).await;
        let outcome = found.as_ref().map_or_else(SourceError::code, |_| "found");
        self.metrics.source_call(outcome, began.elapsed());
        found
    }

    async fn scrape(&self, username: &str, permit: Permit, deadline: Instant) -> Result<Scraped, SourceError> {
        let items = self.run(&[username], permit, deadline).await?;
        let no_profile = || SourceError::NoProfile(username.to_owned());
        let item = items.first().ok_or_else(no_profile)?;
        if let Some(error) = item["error"].as_str() {
            let detail = self.http.shown(item["errorDescription"].as_str().unwrap_or_default());
            return Err(match error {
                "not_found" | "no_items" => no_profile(),
                other => SourceError::Unavailable(format!("the scraper says {}: {detail}", self.http.shown(other))),
            });
        }
        Scraped::read(item).ok_or_else(|| SourceError::Garbage("the item has no username".to_owned()))
    }

    /// Runs the actor for `usernames` and returns the items of its data set.
    pub async fn run(&self, usernames: &[&str], permit: Permit, deadline: Instant) -> Result<Vec<Value>, SourceError> {
        let time = Time { began: Instant::now(), deadline };
        let mut run = self.start(usernames, permit, &time).await?;
        let pending = Pending::new(self.http.post(&["actor-runs", &run.id, "abort"]), &run.id);
        loop {
            match run.standing() {
                Standing::Succeeded => {
                    pending.ended();
                    return self.items(&run.default_dataset_id, &time).await;
                }
                Standing::UnderWay => {}
                Standing::Failed => {
                    pending.ended();
                    let message = self.http.shown(run.status_message.as_deref().unwrap_or("no reason given"));
                    return Err(SourceError::RunEnded { status: self.http.shown(&run.status), message });
                }
            }
            let left = time.left();
            if left < LEAST {
                return Err(time.out());
            }
            run = self.look(&run.id, self.limits.wait.min(left), &time).await?;
        }
    }

    /// Starts a run. Never repeated here: each one costs the account money.
    async fn start(&self, usernames: &[&str], permit: Permit, time: &Time) -> Result<Run, SourceError> {
        let left = time.left();
        // Apify ends the run itself when nobody would wait for it any more.
        let timeout = left.as_secs().max(1).to_string();
        let request = self
            .http
            .post(&["acts", &self.actor, "runs"])
            .query(&[("timeout", timeout.as_str())])
            .json(&json!({"usernames": usernames}))
            .timeout(self.limits.answer.min(left));
        let started = async {
            let response = self.http.send(request).await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Err(SourceError::Actor { actor: self.actor.clone() });
            }
            self.http.accept::<Envelope<Run>>(response).await
        }
        .await;
        match &started {
            Err(SourceError::Unavailable(_)) => permit.failed(),
            _ => permit.succeeded(),
        }
        Ok(started?.data)
    }

    async fn look(&self, run: &str, wait: Duration, time: &Time) -> Result<Run, SourceError> {
        let seconds = wait.as_secs().to_string();
        let request = || self.http.get(&["actor-runs", run]).query(&[("waitForFinish", seconds.as_str())]);
        let envelope: Envelope<Run> = self.read(request, self.limits.answer + wait, time).await?;
        Ok(envelope.data)
    }

    /// Reads page after page until one comes up short. The total in the header is not relied on: it lags behind the items.
    async fn items(&self, dataset: &str, time: &Time) -> Result<Vec<Value>, SourceError> {
        let mut items: Vec<Value> = Vec::new();
        while items.len() < self.limits.items {
            let (offset, limit) = (items.len().to_string(), self.limits.page_items.to_string());
            let query = [("clean", "true"), ("format", "json"), ("offset", &offset), ("limit", &limit)];
            let request = || self.http.get(&["datasets", dataset, "items"]).query(&query);
            let page: Vec<Value> = self.read(request, self.limits.answer, time).await?;
            let last = page.len() < self.limits.page_items;
            items.extend(page);
            if last {
                break;
            }
        }
        Ok(items)
    }

    /// A call that is safe to repeat, so it is, as long as nobody answers and time is left. `limit` is for one answer.
    async fn read<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
        limit: Duration,
        time: &Time,
    ) -> Result<T, SourceError> {
        let mut attempt = 0;
        loop {
            let answer = self.http.ask(request().timeout(limit.min(time.left()))).await;
            match &answer {
                Ok(_) => self.breaker.record_success(),
                Err(_) if time.left().is_zero() => return Err(time.out()),
                Err(SourceError::Unavailable(_)) => {
                    attempt += 1;
                    if attempt < TRIES {
                        sleep(full_jitter(attempt).min(time.left())).await;
                        continue;
                    }
                    self.breaker.record_failure();
                }
                Err(_) => {}
            }
            return answer;
        }
    }
}
