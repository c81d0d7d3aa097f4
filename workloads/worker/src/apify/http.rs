//! HTTP as Apify speaks it: its envelopes, its refusals, and what must not leak.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use switchyard_jobs::{json::replace_lone_surrogates, trace};
use url::Url;

use super::SourceError;

/// Refusals that pass when other runs end.
const CROWDED: [&str; 2] = ["concurrent-runs-limit-exceeded", "actor-memory-limit-exceeded"];

/// Calls with the token.
pub(super) struct Http {
    client: reqwest::Client,
    /// Ends in `/v2/`.
    base: Url,
    token: SecretString,
    /// Bytes of one answer.
    answer_bytes: usize,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Default, Deserialize)]
struct RefusalBody {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Http {
    pub fn new(base: Url, token: SecretString, answer_bytes: usize) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("switchyard-worker/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            // A redirect could carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, base, token, answer_bytes })
    }

    pub fn get(&self, path: &[&str]) -> RequestBuilder {
        self.client.get(self.address(path)).bearer_auth(self.token.expose_secret())
    }

    pub fn post(&self, path: &[&str]) -> RequestBuilder {
        self.client.post(self.address(path)).bearer_auth(self.token.expose_secret())
    }

    fn address(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Sends a request; the answer's JSON, or what its status says.
    pub async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, SourceError> {
        self.accept(self.send(request).await?).await
    }

    pub async fn send(&self, request: RequestBuilder) -> Result<Response, SourceError> {
        trace::within(trace::Kind::Client, "profile source call", async {
            let request = match trace::current() {
                Some(context) => request.header(trace::TRACEPARENT, context.to_string()),
                None => request,
            };
            request.send().await.map_err(|error| self.broken(error))
        })
        .await
    }

    /// The answer's JSON, or what its status says.
    pub async fn accept<T: DeserializeOwned>(&self, response: Response) -> Result<T, SourceError> {
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = self.body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&replace_lone_surrogates(&body))
                .map_err(|error| SourceError::Garbage(self.shown(&error.to_string())));
        }
        let refusal =
            serde_json::from_slice::<Refusal>(&body).map_or_else(|_| RefusalBody::default(), |refusal| refusal.error);
        let said = self.shown(&format!("{status} {} {}", refusal.kind, refusal.message));
        let about_money = ["usage", "payment", "rented", "billing"].iter().any(|word| refusal.kind.contains(word));
        Err(match status.as_u16() {
            402 | 403 if CROWDED.contains(&refusal.kind.as_str()) => SourceError::Crowded(said),
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
            if body.len() + chunk.len() > self.answer_bytes {
                return Err(SourceError::Garbage(format!("more than {} bytes", self.answer_bytes)));
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
    pub fn shown(&self, text: &str) -> String {
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
