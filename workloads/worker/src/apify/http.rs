//! HTTP client of Apify's API: authentication, error envelopes, and redaction of the token.
//!
//! Format: <https://docs.apify.com/api/v2>.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use switchyard_jobs::{json::replace_lone_surrogates, trace};
use url::Url;

use super::error::SourceError;

/// Error types that pass when other runs of the account end.
const CONCURRENCY_LIMITS: [&str; 2] = ["concurrent-runs-limit-exceeded", "actor-memory-limit-exceeded"];

/// A client that authenticates every call.
pub(super) struct Http {
    client: reqwest::Client,
    /// The base URL, which ends in `/v2/`.
    base: Url,
    token: SecretString,
    /// Most bytes of one response.
    response_bytes: usize,
}

#[derive(Deserialize)]
struct ErrorEnvelope {
    error: ApiError,
}

#[derive(Default, Deserialize)]
struct ApiError {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Http {
    pub fn new(base: Url, token: SecretString, response_bytes: usize) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("switchyard-worker/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            // A redirect could send the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, base, token, response_bytes })
    }

    pub fn get(&self, path: &[&str]) -> RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(self.token.expose_secret())
    }

    pub fn post(&self, path: &[&str]) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(self.token.expose_secret())
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Sends a request and parses the response's JSON.
    ///
    /// # Errors
    /// As [`Self::send`] and [`Self::parse`].
    pub async fn request<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, SourceError> {
        self.parse(self.send(request).await?).await
    }

    /// Sends a request with the trace context of the caller.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] if there is no response.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, SourceError> {
        trace::within(trace::Kind::Client, "profile source call", async {
            let request = match trace::current() {
                Some(context) => request.header(trace::TRACEPARENT, context.to_string()),
                None => request,
            };
            request.send().await.map_err(|error| self.connection_error(error))
        })
        .await
    }

    /// The JSON of a successful response.
    ///
    /// # Errors
    /// The [`SourceError`] that belongs to the status and the error type of any other response.
    pub async fn parse<T: DeserializeOwned>(&self, response: Response) -> Result<T, SourceError> {
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = self.body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&replace_lone_surrogates(&body))
                .map_err(|error| SourceError::Garbage(self.redact(&error.to_string())));
        }
        let error = serde_json::from_slice::<ErrorEnvelope>(&body)
            .map_or_else(|_| ApiError::default(), |envelope| envelope.error);
        let message = self.redact(&format!("{status} {} {}", error.kind, error.message));
        let about_money = ["usage", "payment", "rented", "billing"].iter().any(|word| error.kind.contains(word));
        Err(match status.as_u16() {
            402 | 403 if CONCURRENCY_LIMITS.contains(&error.kind.as_str()) => SourceError::Crowded(message),
            401 => SourceError::Token(message),
            402 => SourceError::Payment(message),
            403 if about_money => SourceError::Payment(message),
            403 => SourceError::Token(message),
            429 => SourceError::RateLimited { retry_after },
            // A run or dataset that was just created and is missing: another run helps.
            404 | 408 | 500..=599 => SourceError::Unavailable(message),
            _ => SourceError::Rejected(message),
        })
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, SourceError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.connection_error(error))? {
            if body.len() + chunk.len() > self.response_bytes {
                return Err(SourceError::Garbage(format!("more than {} bytes", self.response_bytes)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn connection_error(&self, error: reqwest::Error) -> SourceError {
        let host = self.base.host_str().unwrap_or_default();
        SourceError::Unavailable(if error.is_timeout() {
            format!("{host} did not respond in time")
        } else {
            let what = if error.is_connect() { "is not reachable" } else { "closed the connection early" };
            self.redact(&format!("{host} {what}: {}", root_cause(&error.without_url())))
        })
    }

    /// Third-party text that is safe to show: one line of at most 200 characters, without the
    /// token.
    pub fn redact(&self, text: &str) -> String {
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

/// The `Retry-After` header: seconds or a date (RFC 9110, section 10.2.3), at most a day.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = match value.trim().parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
            u64::try_from((at.to_utc() - chrono::Utc::now()).num_seconds()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds.min(86_400)))
}
