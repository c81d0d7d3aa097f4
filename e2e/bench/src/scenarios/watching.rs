//! Latency from a job's state change to the watcher's WebSocket.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::settings::Settings;
use crate::{
    fixture::Fixture,
    load::{Connection, Tally, Traffic as _},
    progress::log_progress,
    report::{Report, figure},
    systems::switchyard::{self, Api, Keys, Mounted},
    traffic::Handoffs,
};

const DATABASE: &str = "bench_watching";
/// Run time of a job, long enough for its watcher to connect before the first event.
const HOLD: Duration = Duration::from_millis(400);
/// Concurrent watchers.
const WATCHERS: usize = 50;
/// Watched jobs per second of a measurement.
const JOBS_PER_SECOND: usize = 100;

#[derive(Deserialize)]
struct Event {
    state: String,
    at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Submitted {
    job: Named,
}

#[derive(Deserialize)]
struct Named {
    id: uuid::Uuid,
}

/// Measures the scenario and adds its figure to `report`.
pub async fn measure(fixture: &Fixture, keys: &Keys, settings: Settings, report: &mut Report) -> anyhow::Result<()> {
    log_progress("events: from the change to the WebSocket");
    fixture.recreate_database(DATABASE, switchyard::TEMPLATE).await?;
    let mounted = Mounted::new(fixture, DATABASE)?;
    let api = Api::start(fixture, &mounted).await?;
    let worker = switchyard::worker(fixture, &mounted, HOLD).await?;
    let key = keys.first().context("there are tenants")?;
    let traffic = Handoffs::fresh(std::slice::from_ref(key));
    let jobs = JOBS_PER_SECOND * usize::try_from(settings.duration.as_secs().max(1))?;
    let watched = stream::iter(0..jobs).map(|_| async {
        let mut request = Vec::new();
        traffic.write(&mut request);
        let mut connection = Connection::open(api.address).await?;
        let response = connection.exchange(&request).await?;
        let job = serde_json::from_slice::<Submitted>(response.body).context("the job was not accepted")?.job.id;
        watch(&format!("ws://{}/v1/jobs/{job}/events", api.address), key).await
    });
    let seen: Vec<anyhow::Result<Vec<Duration>>> = watched.buffer_unordered(WATCHERS).collect().await;
    let mut tally = Tally::new();
    for latencies in seen {
        for latency in latencies? {
            tally.record_response(200, latency);
        }
    }
    report.figure(
        format!(
            "event, from the change in PostgreSQL to the watcher's WebSocket; {WATCHERS} watchers, {} events",
            figure(tally.count(200) as f64)
        ),
        format!("p50 {} ms, p99 {} ms", figure(tally.quantile_ms(0.5)), figure(tally.quantile_ms(0.99))),
    );
    worker.stop().await?;
    api.process.stop().await?;
    fixture.drop_database(DATABASE).await
}

/// Follows a job to its end and returns the age of each event that happened after the connection
/// opened.
async fn watch(url: &str, key: &str) -> anyhow::Result<Vec<Duration>> {
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse()?);
    let (mut socket, _) = connect_async(request).await?;
    let since = Utc::now();
    let mut latencies = Vec::new();
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let event: Event = serde_json::from_str(&text).with_context(|| format!("could not parse event: {text}"))?;
        if event.at > since {
            latencies.push((Utc::now() - event.at).to_std().unwrap_or_default());
        }
        match event.state.as_str() {
            "completed" => return Ok(latencies),
            "dead" | "cancelled" => anyhow::bail!("a no-op job ended as {}", event.state),
            _ => {}
        }
    }
    anyhow::bail!("the event stream ended before the job")
}
