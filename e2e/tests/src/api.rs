use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::client::IntoClientRequest as _};

use crate::patiently;

/// A platform's API with one key.
#[derive(Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    pub url: String,
    pub key: String,
}

/// What came back; an HTTP error is an answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body, when the status is `status`.
    pub fn expect(self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("expected {status}, got {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }

    /// A header as text, empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl ApiClient {
    /// A client of the API at `url`.
    pub fn new(url: String, key: String) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().build()?;
        Ok(Self { http, url, key })
    }

    /// The same API with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same with a connection of its own for each call.
    pub fn reconnecting(&self) -> Result<Self> {
        let http =
            reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().pool_max_idle_per_host(0).build()?;
        Ok(Self { http, ..self.clone() })
    }

    /// One call.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Makes a tenant (this client must hold the admin key) and answers with its id and a client of its own.
    pub async fn tenant(&self, tier: &str, credits: i64) -> Result<(String, ApiClient)> {
        let name = format!("e2e-{}", uuid::Uuid::new_v4().simple());
        let tenant = self
            .post("/admin/v1/tenants", json!({"name": name, "tier": tier, "credits": credits}))
            .await?
            .expect(201)?;
        let id = tenant["id"].as_str().context("tenant id")?.to_owned();
        let key = self.post(&format!("/admin/v1/tenants/{id}/keys"), json!({})).await?.expect(201)?;
        let client = self.with_key(key["key"].as_str().context("key")?);
        Ok((id, client))
    }

    /// Asks for an analysis and answers with the job's id.
    pub async fn submit(&self, username: &str) -> Result<String> {
        let body = self.post("/v1/analyses", json!({"username": username})).await?.expect(202)?;
        Ok(body["job"]["id"].as_str().context("job id")?.to_owned())
    }

    /// A job's events by WebSocket; those after a number when one is given.
    pub async fn events(&self, job: &str, after: Option<i64>) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let query = after.map_or_else(String::new, |seq| format!("?after={seq}"));
        let url = format!("{}/v1/jobs/{job}/events{query}", self.url.replace("http:", "ws:"));
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", self.key).parse()?);
        Ok(tokio_tungstenite::connect_async(request).await?.0)
    }

    /// A tenant has what its ledger says (this client must hold the admin key).
    pub async fn balances(&self, tenant: &str) -> Result<()> {
        let report = self.get(&format!("/admin/v1/tenants/{tenant}")).await?.expect(200)?;
        ensure!(report["credits"] == report["ledger_sum"], "{report}");
        Ok(())
    }

    /// Waits until a job has ended.
    pub async fn ended(&self, job: &str, limit: Duration) -> Result<Value> {
        patiently(limit, format!("job {job} ends"), || async move {
            let body = self.get(&format!("/v1/jobs/{job}")).await?.expect(200)?;
            match body["state"].as_str() {
                Some("completed" | "dead" | "cancelled") => Ok(body),
                _ => bail!("it is {body}"),
            }
        })
        .await
    }
}
