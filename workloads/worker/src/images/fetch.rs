//! Fetches an image's bytes from a stranger's server, within limits.

use std::{error::Error, time::Duration};

use reqwest::{Client, StatusCode, header, redirect};
use switchyard_jobs::{resilience::full_jitter, trace};
use tokio::time::sleep;
use url::Url;

use super::guard::{Guard, NotPublic, Passage, PublicOnly};

/// What is put up with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one image.
    pub bytes: usize,
    /// From the request to the last byte.
    pub time: Duration,
    pub redirects: usize,
    /// Tries of what may mend itself, the first one included.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 8 * 1024 * 1024, time: Duration::from_secs(10), redirects: 3, tries: 3 }
    }
}

/// Why there are no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Final for this image; a stable code.
    #[error("{0}")]
    Final(&'static str),
    /// Another attempt may do; words for people.
    #[error("{0}")]
    Transient(String),
}

/// Fetches images.
#[derive(Debug, Clone)]
pub struct Fetcher {
    guard: Guard,
    guarded: Client,
    trusted: Client,
    limits: Limits,
}

impl Fetcher {
    pub fn new(guard: Guard, limits: Limits) -> reqwest::Result<Self> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("switchyard-worker/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(5))
                .timeout(limits.time)
                // Redirects are followed by hand, since each one has to pass the guard.
                .redirect(redirect::Policy::none())
                // A proxy would look names up itself, past the guard.
                .no_proxy()
        };
        let guarded = builder().dns_resolver(std::sync::Arc::new(PublicOnly)).build()?;
        Ok(Self { guard, guarded, trusted: builder().build()?, limits })
    }

    /// The bytes at `url`; what may mend itself is tried again.
    pub async fn fetch(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Final("invalid-address"))?;
        let mut attempt = 0;
        loop {
            match trace::within(trace::Kind::Client, "image fetch", self.once(url.clone())).await {
                Err(FetchError::Transient(_)) if attempt + 1 < self.limits.tries => attempt += 1,
                result => return result,
            }
            sleep(full_jitter(attempt)).await;
        }
    }

    async fn once(&self, mut url: Url) -> Result<Vec<u8>, FetchError> {
        for _ in 0..=self.limits.redirects {
            let client = match self.guard.passage(&url) {
                Passage::Refused => return Err(FetchError::Final("address-not-allowed")),
                Passage::Guarded => &self.guarded,
                Passage::Trusted => &self.trusted,
            };
            let response = client.get(url.clone()).send().await.map_err(|error| broken(&url, error))?;
            let status = response.status();
            if status.is_success() {
                return self.body(&url, response).await;
            }
            if !status.is_redirection() {
                return Err(refusal(&url, status));
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            url = location.and_then(|location| url.join(location).ok()).ok_or(FetchError::Final("invalid-redirect"))?;
        }
        Err(FetchError::Final("too-many-redirects"))
    }

    async fn body(&self, url: &Url, mut response: reqwest::Response) -> Result<Vec<u8>, FetchError> {
        let too_large = FetchError::Final("too-large");
        if response.content_length().is_some_and(|length| length > self.limits.bytes as u64) {
            return Err(too_large);
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(url, error))? {
            if bytes.len() + chunk.len() > self.limits.bytes {
                return Err(too_large);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn refusal(url: &Url, status: StatusCode) -> FetchError {
    match status.as_u16() {
        404 | 410 => FetchError::Final("not-found"),
        408 | 425 | 429 | 500..=599 => FetchError::Transient(format!("{} answers {status}", host(url))),
        _ => FetchError::Final("refused"),
    }
}

fn broken(url: &Url, error: reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if current.is::<NotPublic>() {
            return FetchError::Final("address-not-allowed");
        }
        cause = current.source();
    }
    let what = match () {
        () if error.is_timeout() => "does not answer in time",
        () if error.is_connect() => "cannot be connected to",
        () => "broke off",
    };
    FetchError::Transient(format!("{} {what}", host(url)))
}

/// The host alone: the rest of an image's address may be signed.
fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}
