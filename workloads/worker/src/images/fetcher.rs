//! Fetches the bytes of an image from an untrusted server, within limits.

use std::{error::Error, sync::Arc, time::Duration};

use reqwest::{Client, StatusCode, header, redirect};
use switchyard_jobs::{resilience::full_jitter, trace};
use tokio::time::sleep;
use url::Url;

use super::address_policy::{Access, AddressPolicy, NoPublicAddress, PublicResolver};

/// Limits of a fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one image.
    pub bytes: usize,
    /// Time from the request to the last byte.
    pub time: Duration,
    /// Redirects that are followed.
    pub redirects: usize,
    /// Tries after transient failures, the first one included.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 8 * 1024 * 1024, time: Duration::from_secs(10), redirects: 3, tries: 3 }
    }
}

/// Why an image could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No retry helps. Holds a stable code, for instance `not-found`.
    #[error("{0}")]
    Permanent(&'static str),
    /// A retry may help. Holds a message for people.
    #[error("{0}")]
    Transient(String),
}

/// Fetches images.
#[derive(Debug, Clone)]
pub struct Fetcher {
    policy: AddressPolicy,
    public: Client,
    trusted: Client,
    limits: Limits,
}

impl Fetcher {
    /// # Errors
    /// The TLS backend cannot be initialised.
    pub fn new(policy: AddressPolicy, limits: Limits) -> reqwest::Result<Self> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("switchyard-worker/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(5))
                .timeout(limits.time)
                // `try_once` follows redirects, because the policy applies to each of them.
                .redirect(redirect::Policy::none())
                // A proxy would resolve names itself and bypass the policy.
                .no_proxy()
        };
        let public = builder().dns_resolver(Arc::new(PublicResolver)).build()?;
        Ok(Self { policy, public, trusted: builder().build()?, limits })
    }

    /// Fetches the bytes at `url`. Retries transient failures up to [`Limits::tries`].
    ///
    /// # Errors
    /// [`FetchError`], whose message names the host but never the rest of the URL.
    pub async fn fetch(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Permanent("invalid-address"))?;
        let mut attempt = 0;
        loop {
            match trace::within(trace::Kind::Client, "image fetch", self.try_once(url.clone())).await {
                Err(FetchError::Transient(_)) if attempt + 1 < self.limits.tries => attempt += 1,
                result => return result,
            }
            sleep(full_jitter(attempt)).await;
        }
    }

    async fn try_once(&self, mut url: Url) -> Result<Vec<u8>, FetchError> {
        for _ in 0..=self.limits.redirects {
            let client = match self.policy.access(&url) {
                Access::Denied => return Err(FetchError::Permanent("address-not-allowed")),
                Access::Public => &self.public,
                Access::Trusted => &self.trusted,
            };
            let response = client.get(url.clone()).send().await.map_err(|error| connection_error(&url, &error))?;
            let status = response.status();
            if status.is_success() {
                return self.body(&url, response).await;
            }
            if !status.is_redirection() {
                return Err(status_error(&url, status));
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            url = location
                .and_then(|location| url.join(location).ok())
                .ok_or(FetchError::Permanent("invalid-redirect"))?;
        }
        Err(FetchError::Permanent("too-many-redirects"))
    }

    async fn body(&self, url: &Url, mut response: reqwest::Response) -> Result<Vec<u8>, FetchError> {
        let too_large = FetchError::Permanent("too-large");
        if response.content_length().is_some_and(|length| length > self.limits.bytes as u64) {
            return Err(too_large);
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| connection_error(url, &error))? {
            if bytes.len() + chunk.len() > self.limits.bytes {
                return Err(too_large);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn status_error(url: &Url, status: StatusCode) -> FetchError {
    match status.as_u16() {
        404 | 410 => FetchError::Permanent("not-found"),
        408 | 425 | 429 | 500..=599 => FetchError::Transient(format!("{} responded with {status}", host(url))),
        _ => FetchError::Permanent("refused"),
    }
}

fn connection_error(url: &Url, error: &reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if current.is::<NoPublicAddress>() {
            return FetchError::Permanent("address-not-allowed");
        }
        cause = current.source();
    }
    let what = match () {
        () if error.is_timeout() => "did not respond in time",
        () if error.is_connect() => "is not reachable",
        () => "closed the connection early",
    };
    FetchError::Transient(format!("{} {what}", host(url)))
}

/// Only the host: the rest of an image's URL may contain a signature.
fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}
