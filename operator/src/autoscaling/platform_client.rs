//! What waits in a platform's lanes and how it does, as its API tells on its operations port.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use switchyard_contract::{HealthReport, LanesReport, OPERATIONS_PORT};

use crate::kubernetes::ttl_cache::TtlCache;

/// How long an answer is good: all pools of a platform ask at about the same time.
const FRESH: Duration = Duration::from_secs(4);
/// How long a platform may take to answer. An autoscaler waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer longer than this is none of ours. Sixteen lanes make some 5 kB.
const MOST_BYTES: usize = 1 << 20;
/// Why nothing is known about a platform's lanes, in words.
pub type Unavailable = String;

type Answer = Result<Arc<LanesReport>, Unavailable>;
/// Asks platforms' APIs, each at most once in 4 s. Cheap to clone.
#[derive(Clone)]
pub struct PlatformClient {
    http: reqwest::Client,
    /// By namespace and name.
    answers: TtlCache<(String, String), Answer>,
}

impl Default for PlatformClient {
    fn default() -> Self {
        Self::new()
    }
}

impl PlatformClient {
    /// Nothing asked yet.
    ///
    /// # Panics
    /// When the TLS library cannot be set up, which it can.
    pub fn new() -> Self {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("an HTTP client");
        Self { http, answers: TtlCache::new(FRESH) }
    }

    /// How a platform does.
    ///
    /// # Errors
    /// When its API does not answer.
    pub async fn health_report(&self, namespace: &str, platform: &str) -> Result<HealthReport, Unavailable> {
        self.ask(namespace, platform, "health").await
    }

    /// The lanes of a platform.
    ///
    /// # Errors
    /// When its API does not answer, or does not know: nobody may act on that as if nothing waited.
    pub async fn of(&self, namespace: &str, platform: &str) -> Answer {
        let ask = async { self.ask(namespace, platform, "lanes").await.map(Arc::new) };
        self.answers.get((namespace.to_owned(), platform.to_owned()), None, ask).await
    }

    async fn ask<T: DeserializeOwned>(&self, namespace: &str, platform: &str, what: &str) -> Result<T, Unavailable> {
        let url = format!("http://{platform}-api.{namespace}.svc:{OPERATIONS_PORT}/{what}");
        let silence = |why: String| format!("the API of platform {platform} does not tell what waits: {why}");
        let mut response = self.http.get(&url).send().await.map_err(|error| silence(reason(&error)))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| silence(reason(&error)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                return Err(silence("its answer is too long".into()));
            }
        }
        if !status.is_success() {
            let words: String = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
            return Err(silence(format!("{status}: {words}")));
        }
        serde_json::from_slice(&body).map_err(|error| silence(format!("its answer is not understood: {error}")))
    }
}

/// The innermost cause: the outer ones repeat the address.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
