//! A client of Apify's API, version 2: starts a run of the profile scraper, waits for it, and pages through its data set.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backon::{ExponentialBuilder, Retryable};
use reqwest::{RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use switchyard_contract::ProfileSource;
use switchyard_jobs::model::JobError;
use url::Url;

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

/// Why a profile could not be had. Messages never hold the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error(
        "the profile source refuses the token: put a valid one into the Secret that profileSource.secretRef names ({0})"
    )]
    Token(String),
    #[error("the profile source's account cannot pay for the run: top it up or raise its limit ({0})")]
    Payment(String),
    #[error(
        "the profile source has no actor '{actor}' that this token may run: correct profileSource.actor, or profileSource.endpoint"
    )]
    Actor { actor: String },
    #[error("the profile source limits our calls")]
    RateLimited { retry_after: Option<Duration> },
    #[error("the profile source is unavailable: {0}")]
    Unavailable(String),
    #[error("the scraper's run ended as {status}: {message}")]
    RunEnded { status: String, message: String },
    #[error("the scraper's run did not end within the {} s that this attempt had", .0.as_secs())]
    OutOfTime(Duration),
    #[error("the profile source refuses the request: {0}")]
    Rejected(String),
    #[error("there is no profile '{0}'")]
    NoProfile(String),
    #[error("the profile source did not answer with the promised JSON: {0}")]
    Garbage(String),
}

impl SourceError {
    /// The stable code of the job error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(_) => "profile-source-token",
            Self::Payment(_) => "profile-source-payment",
            Self::Actor { .. } => "profile-source-actor",
            Self::RateLimited { .. } => "profile-source-rate-limited",
            Self::Unavailable(_) => "profile-source-unavailable",
            Self::RunEnded { .. } => "profile-source-run-failed",
            Self::OutOfTime(_) => "profile-source-timeout",
            Self::Rejected(_) => "profile-source-rejected",
            Self::NoProfile(_) => "profile-not-found",
            Self::Garbage(_) => "profile-source-garbage",
        }
    }

    fn is_permanent(&self) -> bool {
        match self {
            Self::Token(_) | Self::Payment(_) | Self::Actor { .. } | Self::Rejected(_) | Self::NoProfile(_) => true,
            Self::RateLimited { .. }
            | Self::Unavailable(_)
            | Self::RunEnded { .. }
            | Self::OutOfTime(_)
            | Self::Garbage(_) => false,
        }
    }
}

impl From<SourceError> for JobError {
    fn from(error: SourceError) -> Self {
        let retry_after_seconds = match &error {
            SourceError::RateLimited { retry_after } => retry_after.map(|wait| wait.as_secs()),
            _ => None,
        };
        Self {
            code: error.code().to_owned(),
            message: error.to_string(),
            permanent: error.is_permanent(),
            retry_after_seconds,
        }
    }
}

/// A client for one actor with one token.
pub struct Apify {
    http: reqwest::Client,
    /// Ends in `/v2/`.
    base: Url,
    actor: String,
    token: SecretString,
    limits: Limits,
    metrics: Arc<Metrics>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    id: String,
    status: String,
    #[serde(default)]
    status_message: Option<String>,
    default_dataset_id: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Apify {
    /// A client for `source`. Fails when the endpoint is not an http or https address.
    pub fn new(
        source: &ProfileSource,
        token: SecretString,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let endpoint = source.endpoint.trim_end_matches('/').trim_end_matches("/v2");
        let base = Url::parse(&format!("{endpoint}/v2/"))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
            anyhow::anyhow!("profileSource.endpoint '{}' is not an http or https address", source.endpoint)
        })?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("switchyard-worker/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        // The store writes `owner/name`, the API `owner~name`.
        let actor = source.actor.replace('/', "~");
        Ok(Self { http, base, actor, token, limits, metrics })
    }

    /// The profile of `username` with its newest posts; gives up at `deadline`.
    pub async fn profile(&self, username: &str, deadline: Instant) -> Result<Scraped, SourceError> {
        let began = Instant::now();
        let found = self.scrape(username, deadline).await;
        let outcome = found.as_ref().map_or_else(SourceError::code, |_| "found");
        self.metrics.source_call(outcome, began.elapsed());
        found
    }

    async fn scrape(&self, username: &str, deadline: Instant) -> Result<Scraped, SourceError> {
        let items = self.run(&[username], deadline).await?;
        let no_profile = || SourceError::NoProfile(username.to_owned());
        let item = items.first().ok_or_else(no_profile)?;
        if let Some(error) = item["error"].as_str() {
            let detail = self.shown(item["errorDescription"].as_str().unwrap_or_default());
            return Err(match error {
                "not_found" | "no_items" => no_profile(),
                other => SourceError::Unavailable(format!("the scraper says {}: {detail}", self.shown(other))),
            });
        }
        Scraped::read(item).ok_or_else(|| SourceError::Garbage("the item has no username".to_owned()))
    }

    /// Runs the actor for `usernames` and returns the items of its data set.
    pub async fn run(&self, usernames: &[&str], deadline: Instant) -> Result<Vec<Value>, SourceError> {
        let began = Instant::now();
        let mut run = self.start(usernames, deadline).await?;
        loop {
            match run.status.as_str() {
                "SUCCEEDED" => return self.items(&run.default_dataset_id).await,
                "READY" | "RUNNING" | "TIMING-OUT" | "ABORTING" => {}
                _ => {
                    let message = self.shown(run.status_message.as_deref().unwrap_or("no reason given"));
                    return Err(SourceError::RunEnded { status: self.shown(&run.status), message });
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left < Duration::from_secs(1) {
                return Err(SourceError::OutOfTime(began.elapsed()));
            }
            run = self.look(&run.id, self.limits.wait.min(left)).await?;
        }
    }

    /// Starts a run. Never repeated here: each one costs the account money.
    async fn start(&self, usernames: &[&str], deadline: Instant) -> Result<Run, SourceError> {
        let left = deadline.saturating_duration_since(Instant::now());
        // Apify ends the run itself when nobody would wait for it any more.
        let timeout = left.as_secs().max(1).to_string();
        let request = self
            .http
            .post(self.address(&["acts", &self.actor, "runs"]))
            .query(&[("timeout", timeout.as_str())])
            .json(&json!({"usernames": usernames}))
            .timeout(self.limits.answer.min(left));
        let response = self.send(request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(SourceError::Actor { actor: self.actor.clone() });
        }
        self.accept::<Envelope<Run>>(response).await.map(|envelope| envelope.data)
    }

    async fn look(&self, run: &str, wait: Duration) -> Result<Run, SourceError> {
        let seconds = wait.as_secs().to_string();
        let envelope: Envelope<Run> = self
            .get(|| {
                self.http
                    .get(self.address(&["actor-runs", run]))
                    .query(&[("waitForFinish", seconds.as_str())])
                    .timeout(self.limits.answer + wait)
            })
            .await?;
        Ok(envelope.data)
    }

    /// Reads page after page until one comes up short. The total in the header is not relied on: it lags behind the items.
    async fn items(&self, dataset: &str) -> Result<Vec<Value>, SourceError> {
        let mut items: Vec<Value> = Vec::new();
        while items.len() < self.limits.items {
            let (offset, limit) = (items.len().to_string(), self.limits.page_items.to_string());
            let page: Vec<Value> = self
                .get(|| {
                    self.http
                        .get(self.address(&["datasets", dataset, "items"]))
                        .query(&[("clean", "true"), ("format", "json"), ("offset", &offset), ("limit", &limit)])
                        .timeout(self.limits.answer)
                })
                .await?;
            let last = page.len() < self.limits.page_items;
            items.extend(page);
            if last {
                break;
            }
        }
        Ok(items)
    }

    fn address(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// A call that is safe to repeat, so it is, twice.
    async fn get<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder) -> Result<T, SourceError> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(2))
            .with_max_times(2)
            .with_jitter();
        let once = || async { self.accept(self.send(request()).await?).await };
        once.retry(backoff).when(|error| matches!(error, SourceError::Unavailable(_))).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, SourceError> {
        request.bearer_auth(self.token.expose_secret()).send().await.map_err(|error| self.broken(error))
    }

    /// The answer's JSON, or what its status says.
    async fn accept<T: DeserializeOwned>(&self, response: Response) -> Result<T, SourceError> {
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = self.body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| SourceError::Garbage(self.shown(&error.to_string())));
        }
        let refusal = serde_json::from_slice::<Refusal>(&body)
            .map_or_else(|_| RefusalBody { kind: String::new(), message: String::new() }, |refusal| refusal.error);
        let said = self.shown(&format!("{status} {} {}", refusal.kind, refusal.message));
        let about_money = ["usage", "payment", "rented", "billing"].iter().any(|word| refusal.kind.contains(word));
        Err(match status.as_u16() {
            401 => SourceError::Token(said),
            402 => SourceError::Payment(said),
            403 if about_money => SourceError::Payment(said),
            403 => SourceError::Token(said),
            429 => SourceError::RateLimited { retry_after },
            // A run or data set that has just been made and is gone: another run helps.
            404 | 408 | 500..=599 => SourceError::Unavailable(said),
            _ => SourceError::Rejected(said),
        })
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, SourceError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if body.len() + chunk.len() > self.limits.answer_bytes {
                return Err(SourceError::Garbage(format!("more than {} bytes", self.limits.answer_bytes)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn broken(&self, error: reqwest::Error) -> SourceError {
        let host = self.base.host_str().unwrap_or_default();
        SourceError::Unavailable(match error.is_timeout() {
            true => format!("{host} does not answer in time"),
            false => {
                let what = if error.is_connect() { "cannot be connected to" } else { "broke the connection off" };
                self.shown(&format!("{host} {what}: {}", root_cause(&error.without_url())))
            }
        })
    }

    /// Somebody else's words, fit to be shown: short, on one line, without the token.
    fn shown(&self, text: &str) -> String {
        let text = text.replace(self.token.expose_secret(), "[token]");
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect::<String>().trim().to_owned()
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Seconds, or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = match value.trim().parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
            u64::try_from((at.to_utc() - chrono::Utc::now()).num_seconds()).unwrap_or(0)
        }
    };
    // Nobody waits longer than a day for a rate limit.
    Some(Duration::from_secs(seconds.min(86_400)))
}
