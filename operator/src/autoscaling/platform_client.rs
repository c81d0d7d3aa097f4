//! Client of the API of a platform: queue statistics and health, from its operations port.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use switchyard_contract::{HealthReport, LanesReport, OPERATIONS_PORT};

use crate::kubernetes::ttl_cache::TtlCache;

/// Time to live of queue statistics. All pools of a platform ask at about the same time.
const QUEUE_STATS_TTL: Duration = Duration::from_secs(4);
/// Timeout of a request. An autoscaler waits for the response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest accepted response. Sixteen lanes take about 5 kB.
const MAX_RESPONSE_BYTES: usize = 1 << 20;
/// Why the API of a platform did not answer.
pub type Unavailable = String;

type QueueStatsResult = Result<Arc<LanesReport>, Unavailable>;

/// Client of the APIs of all platforms. Cheap to clone.
#[derive(Clone)]
pub struct PlatformClient {
    http: reqwest::Client,
    /// By namespace and name.
    answers: TtlCache<(String, String), QueueStatsResult>,
}

impl Default for PlatformClient {
    fn default() -> Self {
        Self::new()
    }
}

impl PlatformClient {
    /// A client with an empty cache.
    ///
    /// # Panics
    /// If the TLS library cannot be initialized.
    pub fn new() -> Self {
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("an HTTP client");
        Self { http, answers: TtlCache::new(QUEUE_STATS_TTL) }
    }

    /// The health report of a platform.
    ///
    /// # Errors
    /// If its API does not answer.
    pub async fn health_report(&self, namespace: &str, platform: &str) -> Result<HealthReport, Unavailable> {
        self.get(namespace, platform, "health").await
    }

    /// The queue statistics of a platform, at most [`QUEUE_STATS_TTL`] old.
    ///
    /// # Errors
    /// If its API does not answer or does not know them. Callers must not read that as empty
    /// queues.
    pub async fn queue_stats(&self, namespace: &str, platform: &str) -> QueueStatsResult {
        let load = async { self.get(namespace, platform, "lanes").await.map(Arc::new) };
        self.answers.get((namespace.to_owned(), platform.to_owned()), None, load).await
    }

    async fn get<T: DeserializeOwned>(&self, namespace: &str, platform: &str, path: &str) -> Result<T, Unavailable> {
        let url = format!("http://{platform}-api.{namespace}.svc:{OPERATIONS_PORT}/{path}");
        let unavailable = |cause: String| format!("the API of platform {platform} did not answer /{path}: {cause}");
        let mut response = self.http.get(&url).send().await.map_err(|error| unavailable(root_cause(&error)))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(root_cause(&error)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_RESPONSE_BYTES {
                return Err(unavailable("the response is too long".into()));
            }
        }
        if !status.is_success() {
            let message: String = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
            return Err(unavailable(format!("{status}: {message}")));
        }
        serde_json::from_slice(&body).map_err(|error| unavailable(format!("the response is invalid: {error}")))
    }
}

/// The innermost cause: the outer ones repeat the address.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
