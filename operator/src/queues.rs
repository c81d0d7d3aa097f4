//! What waits in a platform's lanes, as its API tells on its operations port.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Deserialize;
use switchyard_contract::{OPERATIONS_PORT, QueueFacts};
use tokio::sync::Mutex as AsyncMutex;

/// How long an answer is good: all pools of a platform ask at about the same time.
const FRESH: Duration = Duration::from_secs(4);
/// How long a platform may take to answer. An autoscaler waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer longer than this is none of ours. Sixteen lanes make some 5 kB.
const MOST_BYTES: usize = 1 << 20;
/// Platforms that nobody has asked about for this long are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Why nothing is known about a platform's lanes, in words.
pub type Silence = String;

type Answer = Result<Arc<Vec<QueueFacts>>, Silence>;
/// By namespace and name, with when they were last asked about.
type Platforms = HashMap<(String, String), (Instant, Cell)>;
type Cell = Arc<AsyncMutex<Option<(Instant, Answer)>>>;

/// Asks platforms' APIs, each at most once in 4 s. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    http: reqwest::Client,
    platforms: Arc<Mutex<Platforms>>,
}

#[derive(Deserialize)]
struct Document {
    lanes: Vec<QueueFacts>,
}

impl Default for Queues {
    fn default() -> Self {
        Self::new()
    }
}

impl Queues {
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
        Self { http, platforms: Arc::default() }
    }

    /// The lanes of a platform.
    ///
    /// # Errors
    /// When its API does not answer, or does not know: nobody may act on that as if nothing waited.
    pub async fn of(&self, namespace: &str, platform: &str) -> Answer {
        let cell = self.cell(namespace, platform);
        let mut last = cell.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = self.ask(namespace, platform).await.map(Arc::new);
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    fn cell(&self, namespace: &str, platform: &str) -> Cell {
        let mut platforms = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        platforms.retain(|_, (asked, _)| asked.elapsed() < FORGOTTEN);
        let (asked, cell) = platforms
            .entry((namespace.to_owned(), platform.to_owned()))
            .or_insert_with(|| (Instant::now(), Cell::default()));
        *asked = Instant::now();
        cell.clone()
    }

    async fn ask(&self, namespace: &str, platform: &str) -> Result<Vec<QueueFacts>, Silence> {
        let url = format!("http://{platform}-api.{namespace}.svc:{OPERATIONS_PORT}/lanes");
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
        let document: Document =
            serde_json::from_slice(&body).map_err(|error| silence(format!("its answer is not understood: {error}")))?;
        Ok(document.lanes)
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
