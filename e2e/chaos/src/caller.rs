//! Calls to the API, each to another one of its processes.

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

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody with a key. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    http: Client,
    urls: Arc<[String]>,
    next: Arc<AtomicUsize>,
    key: String,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Nothing, or half an answer: who knows what was done.
    Broken,
    /// A 5xx, which leaves that open as well.
    Unsure {
        status: u16,
    },
    Given {
        status: u16,
        body: Value,
    },
}

impl Answer {
    /// The job that a 202 names.
    pub fn accepted(&self) -> Option<Uuid> {
        match self {
            Self::Given { status: 202, body } => body["job"]["id"].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// Whether it tells what was done.
    pub const fn is_sure(&self) -> bool {
        matches!(self, Self::Given { .. })
    }

    /// What to count it as: a refusal's code, or its status.
    pub fn outcome(&self) -> String {
        match self {
            Self::Broken => "no answer".to_owned(),
            Self::Unsure { status } => status.to_string(),
            Self::Given { status: 202, .. } => "accepted".to_owned(),
            Self::Given { status: 200, .. } => "answered from the cache".to_owned(),
            Self::Given { status, body } => body["code"].as_str().map_or_else(|| status.to_string(), ToOwned::to_owned),
        }
    }
}

impl Caller {
    /// Somebody who calls the processes at `urls` in turn.
    pub fn new(urls: &[String], key: &str) -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().build()?;
        Ok(Self { http, urls: urls.into(), next: Arc::default(), key: key.to_owned() })
    }

    /// Somebody else who calls the same processes.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    fn url(&self) -> &str {
        &self.urls[self.next.fetch_add(1, Ordering::Relaxed) % self.urls.len()]
    }

    /// A call with a JSON body or without one, and with an idempotency key or without one.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>, idempotency: Option<&str>) -> Answer {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url())).bearer_auth(&self.key).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = idempotency {
            request = request.header("idempotency-key", key);
        }
        let Ok(response) = request.send().await else { return Answer::Broken };
        let status = response.status().as_u16();
        match response.json().await {
            Ok(_) if status >= 500 => Answer::Unsure { status },
            Ok(body) => Answer::Given { status, body },
            Err(_) => Answer::Broken,
        }
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, None).await
    }

    /// A POST.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body), None).await
    }

    /// The stream of a job's events after the one numbered `after`; `None` when there is none to be had now.
    pub async fn events(&self, job: Uuid, after: i64) -> Option<Response> {
        let url = format!("{}/v1/jobs/{job}/events", self.url());
        let request = self.http.get(url).bearer_auth(&self.key).header("accept", "text/event-stream");
        let answer = tokio::time::timeout(PATIENCE, request.header("last-event-id", after).send()).await.ok()?.ok()?;
        answer.status().is_success().then_some(answer)
    }
}
