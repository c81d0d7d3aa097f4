//! Callers, and what they saw.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::json;
use switchyard_e2e::{ApiClient, locked};
use tokio::task::JoinHandle;

/// One call as its caller saw it.
struct Call {
    at: Instant,
    took: Duration,
    ok: bool,
}

/// Callers that go on whatever happens: an analysis a second, and ten reads.
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
    pub fn begin(client: &ApiClient, scenario: &'static str, garbage: bool) -> Result<Self> {
        let (calls, jobs) = (Arc::<Mutex<Vec<Call>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        // As behind a load balancer: no connection outlives a call.
        let client = client.reconnecting()?;
        let submit = tokio::spawn({
            let (client, calls, jobs) = (client.clone(), calls.clone(), jobs.clone());
            async move {
                for n in 0.. {
                    let prefix = if garbage && n % 2 == 0 { "garbage-" } else { "" };
                    let began = Instant::now();
                    let answer =
                        client.post("/v1/analyses", json!({"username": format!("{prefix}{scenario}-{n}")})).await;
                    let status = answer.as_ref().map_or(0, |answer| answer.status);
                    // A refusal for want of room or quota is an answer like any other.
                    let call = Call { at: began, took: began.elapsed(), ok: [200, 202, 429].contains(&status) };
                    locked(&calls).push(call);
                    if let Some(id) =
                        answer.ok().and_then(|answer| answer.body["job"]["id"].as_str().map(str::to_owned))
                        && prefix.is_empty()
                    {
                        locked(&jobs).push(id);
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
                    let ok = client.get("/v1/usage").await.is_ok_and(|answer| answer.status == 200);
                    locked(&calls).push(Call { at: began, took: began.elapsed(), ok });
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Ok(Self { calls, jobs, tasks: vec![submit, read] })
    }

    /// Analyses that were accepted.
    pub fn jobs(&self) -> Vec<String> {
        locked(&self.jobs).clone()
    }

    /// Errors among calls, calls, and the slowest of a hundred, between two moments.
    pub fn seen(&self, from: Instant, to: Instant) -> (usize, usize, Duration) {
        let calls = locked(&self.calls);
        let within: Vec<&Call> = calls.iter().filter(|call| call.at >= from && call.at <= to).collect();
        let mut times: Vec<Duration> = within.iter().map(|call| call.took).collect();
        times.sort();
        let p99 = times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
        (within.iter().filter(|call| !call.ok).count(), within.len(), p99)
    }
}
