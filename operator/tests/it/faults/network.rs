//! The links between candidates and the API server, within the limits that the write fence relies
//! on.
//!
//! A request that was sent arrives up to 2 s later, even if its sender is gone. The API server
//! executes it within its timeout. The response may be lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body as Answer,
    http::{Request, Response, StatusCode},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::server::Server;

/// A write that took effect.
#[derive(Debug, Clone)]
pub struct Written {
    /// Number of the tenure of its leader.
    pub tenure: usize,
    pub sent: Instant,
    /// When it took effect.
    pub executed: Instant,
}

/// Faults of the link of a candidate.
#[derive(Debug, Clone, Default)]
pub struct LinkFaults {
    /// Calls about the lease get lost.
    pub no_lease: bool,
    /// All calls get lost.
    pub cut: bool,
    /// Delay of calls about the lease.
    pub slow_lease: Duration,
    /// Error of the wall clock of the candidate.
    pub clock: SignedDuration,
}

/// The link between a candidate and the API server.
pub struct Link {
    pub server: Server,
    pub faults: Mutex<LinkFaults>,
    pub written: Arc<Mutex<Vec<Written>>>,
    /// Number of requests so far, which decides the delay of the next one.
    pub count: AtomicUsize,
}

impl Link {
    /// Transports a request to the API server, and the response back.
    pub async fn transport(self: Arc<Self>, request: Request<Body>) -> Result<Response<Answer>, std::io::Error> {
        let faults = self.faults.lock().clone();
        let lease = request.uri().path().contains("/leases");
        if faults.cut || (lease && faults.no_lease) {
            return std::future::pending().await;
        }
        let sent = Instant::now();
        // A sent request arrives, even if its sender no longer waits for the response.
        let arrives = tokio::spawn(self.clone().arrive(request, lease, faults, sent));
        arrives.await.map_err(std::io::Error::other)?
    }

    async fn arrive(
        self: Arc<Self>,
        request: Request<Body>,
        lease: bool,
        faults: LinkFaults,
        sent: Instant,
    ) -> Result<Response<Answer>, std::io::Error> {
        let request = if lease { with_clock(request, faults.clock).await } else { request };
        if lease {
            sleep(faults.slow_lease).await;
            return self.server.clone().answer(request).await;
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        sleep([0, 1900, 0, 100][count % 4].into_millis()).await;
        let takes = [10, 300, 10, 8_000, 3_000, 60_000, 10][count % 7].into_millis();
        let may = request.uri().query().unwrap_or_default().split('&').find_map(|part| part.strip_prefix("timeout="));
        let may: u64 = may.and_then(|may| may.strip_suffix("ms")?.parse().ok()).expect("a write carries its timeout");
        if takes > may.into_millis() {
            sleep(may.into_millis()).await;
            let mut response =
                Response::new(Answer::from(json!({"kind": "Status", "code": 504, "reason": "Timeout"}).to_string()));
            *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
            return Ok(response);
        }
        sleep(takes).await;
        let (head, body) = request.into_parts();
        let bytes = body.collect_bytes().await.map_err(std::io::Error::other)?;
        let object: Value = serde_json::from_slice(&bytes).expect("JSON");
        let tenure = object["data"]["tenure"].as_str().and_then(|text| text.parse().ok()).expect("evidence");
        self.written.lock().push(Written { tenure, sent, executed: Instant::now() });
        self.server.clone().answer(Request::from_parts(head, bytes.into())).await
    }
}

trait Milliseconds {
    fn into_millis(self) -> Duration;
}

impl Milliseconds for u64 {
    fn into_millis(self) -> Duration {
        Duration::from_millis(self)
    }
}

/// Shifts the times in the Lease by the error of a wall clock.
async fn with_clock(request: Request<Body>, clock: SignedDuration) -> Request<Body> {
    if clock.is_zero() || request.method().is_safe() {
        return request;
    }
    let (mut head, body) = request.into_parts();
    let bytes = body.collect_bytes().await.expect("a body");
    let mut lease: Value = serde_json::from_slice(&bytes).expect("JSON");
    let time: Timestamp = lease["spec"]["renewTime"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    lease["spec"]["renewTime"] = json!((time + clock).to_string());
    head.headers.remove("content-length");
    Request::from_parts(head, lease.to_string().into_bytes().into())
}
