//! A client of a platform's HTTP API.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::client::IntoClientRequest as _};

use crate::wait::eventually;

/// A client of a platform's API that authenticates with one key.
#[derive(Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    pub url: String,
    pub key: String,
}

/// A response of the API, with any HTTP status.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Response {
    /// The body of a response with this status.
    ///
    /// # Errors
    /// The status is another one; the message contains the body.
    pub fn expect(self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("expected {status}, got {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }

    /// A header as text; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl ApiClient {
    /// A client of the API at `url`.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(url: String, key: String) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().build()?;
        Ok(Self { http, url, key })
    }

    /// A client of the same API with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// A client that opens a new connection for each call.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn without_keep_alive(&self) -> Result<Self> {
        let http =
            reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().pool_max_idle_per_host(0).build()?;
        Ok(Self { http, ..self.clone() })
    }

    /// Sends one request. Succeeds with any HTTP status.
    ///
    /// # Errors
    /// The API does not respond within 20 seconds, or the connection breaks.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Response { status, headers, body })
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn get(&self, path: &str) -> Result<Response> {
        self.call(Method::GET, path, None).await
    }

    /// Sends a POST request with a JSON body.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn post(&self, path: &str, body: Value) -> Result<Response> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Creates a tenant and a key. Returns the tenant's id and a client with that key.
    ///
    /// This client needs the admin key.
    ///
    /// # Errors
    /// A call fails, or its status is not 201.
    pub async fn create_tenant(&self, tier: &str, credits: i64) -> Result<(String, ApiClient)> {
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

    /// Submits an analysis and returns the id of its job.
    ///
    /// # Errors
    /// The call fails, or its status is not 202.
    pub async fn submit(&self, username: &str) -> Result<String> {
        let body = self.post("/v1/analyses", json!({"username": username})).await?.expect(202)?;
        Ok(body["job"]["id"].as_str().context("job id")?.to_owned())
    }

    /// Opens a WebSocket with the events of a job, from the first or from the one after `after`.
    ///
    /// # Errors
    /// The API refuses the WebSocket, or there is no connection.
    pub async fn watch_events(
        &self,
        job: &str,
        after: Option<i64>,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let query = after.map_or_else(String::new, |seq| format!("?after={seq}"));
        let url = format!("{}/v1/jobs/{job}/events{query}", self.url.replace("http:", "ws:"));
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", self.key).parse()?);
        Ok(tokio_tungstenite::connect_async(request).await?.0)
    }

    /// Checks that a tenant's balance equals the sum of its ledger. This client needs the admin
    /// key.
    ///
    /// # Errors
    /// The balance differs, or the tenant cannot be read.
    pub async fn check_balance(&self, tenant: &str) -> Result<()> {
        let report = self.get(&format!("/admin/v1/tenants/{tenant}")).await?.expect(200)?;
        ensure!(report["credits"] == report["ledger_sum"], "{report}");
        Ok(())
    }

    /// Waits until a job is completed, dead or cancelled, and returns it.
    ///
    /// # Errors
    /// The job is not finished within `limit`; the last call says why.
    pub async fn wait_until_finished(&self, job: &str, limit: Duration) -> Result<Value> {
        eventually(limit, format!("job {job} is finished"), || async move {
            let body = self.get(&format!("/v1/jobs/{job}")).await?.expect(200)?;
            match body["state"].as_str() {
                Some("completed" | "dead" | "cancelled") => Ok(body),
                _ => bail!("job is {body}"),
            }
        })
        .await
    }
}
