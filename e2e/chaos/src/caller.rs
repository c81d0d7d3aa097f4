//! A client of the API that calls its processes in turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Method, Response};
use serde_json::Value;
use uuid::Uuid;

/// Timeout of a call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client with an API key. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    http: Client,
    urls: Arc<[String]>,
    next: Arc<AtomicUsize>,
    key: String,
}

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// No response or an incomplete one: the effect of the call is unknown.
    NoResponse,
    /// A 5xx response: the effect of the call is unknown as well.
    ServerError { status: u16 },
    /// Any other response: the effect of the call is known.
    Response { status: u16, body: Value },
}

impl Answer {
    /// The job in a 202 response.
    pub fn accepted(&self) -> Option<Uuid> {
        match self {
            Self::Response { status: 202, body } => body["job"]["id"].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// Whether the effect of the call is known.
    pub const fn is_conclusive(&self) -> bool {
        matches!(self, Self::Response { .. })
    }

    /// The label to count it under: the problem's code, or the status.
    pub fn outcome(&self) -> String {
        match self {
            Self::NoResponse => "no response".to_owned(),
            Self::ServerError { status } => status.to_string(),
            Self::Response { status: 202, .. } => "accepted".to_owned(),
            Self::Response { status: 200, .. } => "cached result".to_owned(),
            Self::Response { status, body } => {
                body["code"].as_str().map_or_else(|| status.to_string(), ToOwned::to_owned)
            }
        }
    }
}

impl Caller {
    /// A client that calls the processes at `urls` in turn.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(urls: &[String], key: &str) -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().build()?;
        Ok(Self { http, urls: urls.into(), next: Arc::default(), key: key.to_owned() })
    }

    /// A client with another key that calls the same processes.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    fn url(&self) -> &str {
        &self.urls[self.next.fetch_add(1, Ordering::Relaxed) % self.urls.len()]
    }

    /// Calls the API with an optional JSON body and an optional idempotency key.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>, idempotency: Option<&str>) -> Answer {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url())).bearer_auth(&self.key).timeout(TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = idempotency {
            request = request.header("idempotency-key", key);
        }
        let Ok(response) = request.send().await else { return Answer::NoResponse };
        let status = response.status().as_u16();
        match response.json().await {
            Ok(_) if status >= 500 => Answer::ServerError { status },
            Ok(body) => Answer::Response { status, body },
            Err(_) => Answer::NoResponse,
        }
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, None).await
    }

    /// Sends a POST.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body), None).await
    }

    /// Opens the stream of a job's events after number `after`; `None` if it cannot be opened now.
    pub async fn events(&self, job: Uuid, after: i64) -> Option<Response> {
        let url = format!("{}/v1/jobs/{job}/events", self.url());
        let request = self.http.get(url).bearer_auth(&self.key).header("accept", "text/event-stream");
        let answer = tokio::time::timeout(TIMEOUT, request.header("last-event-id", after).send()).await.ok()?.ok()?;
        answer.status().is_success().then_some(answer)
    }
}
