//! How long it takes from a change of a job to the watcher's WebSocket.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::{Scale, say};
use crate::{
    ground::Ground,
    load::{Connection, Tally, Traffic as _},
    report::{Report, figure},
    sides::switchyard::{self, Api, Keys, Mounted},
    traffic::Handoffs,
};

const DATABASE: &str = "bench_watching";
/// How long a job takes; time enough for its watcher to come before something happens.
const HOLD: Duration = Duration::from_millis(400);
/// Watchers at once.
const WATCHERS: usize = 50;
/// Jobs watched for each second of a measurement.
const A_SECOND: usize = 100;

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

pub async fn measure(ground: &Ground, keys: &Keys, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    say("events: from the change to the WebSocket");
    ground.fresh(DATABASE, switchyard::TEMPLATE).await?;
    let mounted = Mounted::new(ground, DATABASE)?;
    let api = Api::start(ground, &mounted).await?;
    let worker = switchyard::worker(ground, &mounted, HOLD).await?;
    let key = keys.first().context("there are tenants")?;
    let traffic = Handoffs::fresh(std::slice::from_ref(key));
    let jobs = A_SECOND * usize::try_from(scale.duration.as_secs().max(1))?;
    let watched = stream::iter(0..jobs).map(|_| async {
        let mut request = Vec::new();
        traffic.write(&mut request);
        let mut connection = Connection::open(api.address).await?;
        let answer = connection.exchange(&request).await?;
        let job = serde_json::from_slice::<Submitted>(answer.body).context("the job was not accepted")?.job.id;
        watch(&format!("ws://{}/v1/jobs/{job}/events", api.address), key).await
    });
    let seen: Vec<anyhow::Result<Vec<Duration>>> = watched.buffer_unordered(WATCHERS).collect().await;
    let mut tally = Tally::new();
    for latencies in seen {
        for latency in latencies? {
            tally.answered(200, latency);
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
    ground.remove(DATABASE).await
}

/// Follows a job to its end; answers how old each event was that happened while we watched.
async fn watch(url: &str, key: &str) -> anyhow::Result<Vec<Duration>> {
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse()?);
    let (mut socket, _) = connect_async(request).await?;
    let since = Utc::now();
    let mut latencies = Vec::new();
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let event: Event = serde_json::from_str(&text).with_context(|| format!("no event: {text}"))?;
        if event.at > since {
            latencies.push((Utc::now() - event.at).to_std().unwrap_or_default());
        }
        match event.state.as_str() {
            "completed" => return Ok(latencies),
            "dead" | "cancelled" => anyhow::bail!("a job that does nothing ended as {}", event.state),
            _ => {}
        }
    }
    anyhow::bail!("the events ended before the job did")
}
