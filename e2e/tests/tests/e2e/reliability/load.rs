//! Callers, and the outcomes of their calls.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::json;
use switchyard_e2e::{ApiClient, lock};
use tokio::task::JoinHandle;

/// The outcome of one call.
struct Call {
    at: Instant,
    took: Duration,
    ok: bool,
}

/// Callers that continue despite errors, with one submission and ten reads a second.
pub struct Load {
    calls: Arc<Mutex<Vec<Call>>>,
    jobs: Arc<Mutex<Vec<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Load {
    /// Starts the callers. With `malformed`, every second profile is one that the source answers
    /// without JSON.
    pub fn start(client: &ApiClient, scenario: &'static str, malformed: bool) -> Result<Self> {
        let (calls, jobs) = (Arc::<Mutex<Vec<Call>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        // A new connection for each call, as behind a load balancer.
        let client = client.without_keep_alive()?;
        let submit = tokio::spawn({
            let (client, calls, jobs) = (client.clone(), calls.clone(), jobs.clone());
            async move {
                for n in 0.. {
                    let prefix = if malformed && n % 2 == 0 { "garbage-" } else { "" };
                    let began = Instant::now();
                    let response =
                        client.post("/v1/analyses", json!({"username": format!("{prefix}{scenario}-{n}")})).await;
                    let status = response.as_ref().map_or(0, |response| response.status);
                    // A rejection because of a full lane or a limit is no error.
                    let call = Call { at: began, took: began.elapsed(), ok: [200, 202, 429].contains(&status) };
                    lock(&calls).push(call);
                    if let Some(id) =
                        response.ok().and_then(|response| response.body["job"]["id"].as_str().map(str::to_owned))
                        && prefix.is_empty()
                    {
                        lock(&jobs).push(id);
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        });
        let read = tokio::spawn({
            let calls = calls.clone();
            async move {
                loop {
                    let began = Instant::now();
                    let ok = client.get("/v1/usage").await.is_ok_and(|response| response.status == 200);
                    lock(&calls).push(Call { at: began, took: began.elapsed(), ok });
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Ok(Self { calls, jobs, tasks: vec![submit, read] })
    }

    /// The jobs of the accepted analyses.
    pub fn jobs(&self) -> Vec<String> {
        lock(&self.jobs).clone()
    }

    /// Number of errors, number of calls and p99 of the duration, between two moments.
    pub fn summary(&self, from: Instant, to: Instant) -> (usize, usize, Duration) {
        let calls = lock(&self.calls);
        let within: Vec<&Call> = calls.iter().filter(|call| call.at >= from && call.at <= to).collect();
        let mut times: Vec<Duration> = within.iter().map(|call| call.took).collect();
        times.sort();
        let p99 = times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
        (within.iter().filter(|call| !call.ok).count(), within.len(), p99)
    }
}
