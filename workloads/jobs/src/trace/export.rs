//! Sending spans to a collector, as OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/>). Never in the way of the work: what the collector does not
//! take in time is dropped, and the log says so.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use switchyard_contract::Telemetry;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

/// Spans that wait to be sent. More than that are dropped.
const WAITING: usize = 4096;
/// Requests that one process traces in a second.
const A_SECOND: u32 = 100;
/// Spans in one message.
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

static SINK: OnceLock<Sink> = OnceLock::new();

struct Sink {
    spans: mpsc::Sender<SpanData>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    percent: u8,
    dropped: AtomicU64,
    began: Instant,
    /// A second since then, and the requests that were traced in it.
    second: Mutex<(u64, u32)>,
}

/// Sends this process' spans where `telemetry` says, under the name of `service`; without an answer there nothing else suffers. Once in a process: later calls
/// change nothing. Needs a running tokio runtime.
pub fn start(telemetry: &Telemetry, service: &str, platform: &str) {
    let endpoint = format!("{}/v1/traces", telemetry.otlp_endpoint.trim_end_matches('/'));
    let built = SpanExporter::builder().with_http().with_endpoint(&endpoint).with_timeout(PATIENCE).build();
    let mut exporter = match built {
        Ok(exporter) => exporter,
        Err(error) => {
            tracing::error!(%error, endpoint, "no traces are sent: the collector's address is of no use");
            return;
        }
    };
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| std::process::id().to_string());
    exporter.set_resource(
        &Resource::builder_empty()
            .with_service_name(service.to_owned())
            .with_attributes([
                KeyValue::new("service.namespace", platform.to_owned()),
                KeyValue::new("service.instance.id", instance),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build(),
    );
    let (spans, waiting) = mpsc::channel(WAITING);
    let (flushes, asked) = mpsc::channel(1);
    let sink = Sink {
        spans,
        flushes,
        percent: telemetry.sample_percent,
        dropped: AtomicU64::new(0),
        began: Instant::now(),
        second: Mutex::default(),
    };
    if SINK.set(sink).is_ok() {
        tokio::spawn(run(exporter, waiting, asked));
    }
}

/// Waits until what has been recorded so far is sent, or the collector's patience is over; for the end of a process.
pub async fn flush() {
    let Some(sink) = SINK.get() else { return };
    let (done, flushed) = oneshot::channel();
    if sink.flushes.send(done).await.is_ok() {
        let _ = timeout(PATIENCE, flushed).await;
    }
}

/// Whether spans are sent anywhere.
pub(super) fn is_on() -> bool {
    SINK.get().is_some()
}

/// Whether a request may be traced: so many a second, whoever asks for it.
pub(super) fn admits() -> bool {
    let Some(sink) = SINK.get() else { return false };
    let now = sink.began.elapsed().as_secs();
    let mut second = sink.second.lock().unwrap_or_else(PoisonError::into_inner);
    if second.0 != now {
        *second = (now, 0);
    }
    second.1 += 1;
    second.1 <= A_SECOND
}

/// Whether a new trace is sampled, by chance.
pub(super) fn samples() -> bool {
    SINK.get().is_some_and(|sink| rand::random_range(0..100) < sink.percent)
}

/// Sends a span when there is room.
pub(super) fn send(span: SpanData) {
    if let Some(sink) = SINK.get()
        && sink.spans.try_send(span).is_err()
    {
        sink.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

async fn run(
    exporter: SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut ticks = interval(GATHER);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let flushed = tokio::select! {
            _ = ticks.tick() => None,
            asked = flushes.recv() => match asked {
                Some(asked) => Some(asked),
                None => return,
            },
        };
        while !spans.is_empty() {
            let mut batch = Vec::with_capacity(BATCH);
            spans.recv_many(&mut batch, BATCH).await;
            let count = batch.len() as u64;
            if let Err(error) = exporter.export(batch).await {
                tracing::debug!(%error, "the collector did not take spans");
                if let Some(sink) = SINK.get() {
                    sink.dropped.fetch_add(count, Ordering::Relaxed);
                }
                break;
            }
        }
        if let Some(dropped) =
            SINK.get().map(|sink| sink.dropped.swap(0, Ordering::Relaxed)).filter(|dropped| *dropped > 0)
        {
            tracing::warn!(dropped, "spans were dropped: the collector is away, or takes fewer than there are");
        }
        if let Some(flushed) = flushed {
            // Whoever asked may have stopped waiting.
            let _ = flushed.send(());
        }
    }
}
