//! Export of spans to a collector, as OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! It never blocks the work: spans that the collector does not accept in time are dropped and
//! counted in the log.

use std::{
    sync::{
        OnceLock,
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
use parking_lot::Mutex;
use switchyard_contract::Telemetry;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

/// Spans that may be queued; more are dropped.
const QUEUE_SIZE: usize = 4096;
/// Requests that one process traces per second.
const MAX_TRACES_PER_SECOND: u32 = 100;
/// Spans in one export request.
const BATCH_SIZE: usize = 512;
/// Interval between two exports.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Limit for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

static EXPORTER: OnceLock<Exporter> = OnceLock::new();

struct Exporter {
    spans: mpsc::Sender<SpanData>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    percent: u8,
    dropped: AtomicU64,
    started: Instant,
    /// Seconds since `started`, and the requests traced in that second.
    current_second: Mutex<(u64, u32)>,
}

/// Starts the export to the collector that `telemetry` names, under the service name `service`.
///
/// Later calls in the same process change nothing. Needs a running tokio runtime.
pub fn start(telemetry: &Telemetry, service: &str, platform: &str) {
    let endpoint = format!("{}/v1/traces", telemetry.otlp_endpoint.trim_end_matches('/'));
    let built = SpanExporter::builder().with_http().with_endpoint(&endpoint).with_timeout(EXPORT_TIMEOUT).build();
    let mut exporter = match built {
        Ok(exporter) => exporter,
        Err(error) => {
            tracing::error!(%error, endpoint, "could not start trace export: invalid collector address");
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
    let (spans, queued) = mpsc::channel(QUEUE_SIZE);
    let (flushes, flush_requests) = mpsc::channel(1);
    let shared = Exporter {
        spans,
        flushes,
        percent: telemetry.sample_percent,
        dropped: AtomicU64::new(0),
        started: Instant::now(),
        current_second: Mutex::default(),
    };
    if EXPORTER.set(shared).is_ok() {
        tokio::spawn(run(exporter, queued, flush_requests));
    }
}

/// Waits until all spans recorded so far are exported, 5 s at most. Call it before the process
/// exits.
pub async fn flush() {
    let Some(shared) = EXPORTER.get() else { return };
    let (done, flushed) = oneshot::channel();
    if shared.flushes.send(done).await.is_ok() {
        let _ = timeout(EXPORT_TIMEOUT, flushed).await;
    }
}

/// Whether spans are exported.
pub(super) fn is_on() -> bool {
    EXPORTER.get().is_some()
}

/// Whether the rate limit admits another traced request.
pub(super) fn admits() -> bool {
    let Some(exporter) = EXPORTER.get() else { return false };
    let now = exporter.started.elapsed().as_secs();
    let mut second = exporter.current_second.lock();
    if second.0 != now {
        *second = (now, 0);
    }
    second.1 += 1;
    second.1 <= MAX_TRACES_PER_SECOND
}

/// Decides at random whether a new trace is sampled.
pub(super) fn samples() -> bool {
    EXPORTER.get().is_some_and(|exporter| rand::random_range(0..100) < exporter.percent)
}

/// Queues a span, or drops it if the queue is full.
pub(super) fn send(span: SpanData) {
    if let Some(exporter) = EXPORTER.get()
        && exporter.spans.try_send(span).is_err()
    {
        exporter.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

async fn run(
    exporter: SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut ticks = interval(EXPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let flushed = tokio::select! {
            _ = ticks.tick() => None,
            request = flushes.recv() => match request {
                Some(done) => Some(done),
                None => return,
            },
        };
        while !spans.is_empty() {
            let mut batch = Vec::with_capacity(BATCH_SIZE);
            spans.recv_many(&mut batch, BATCH_SIZE).await;
            let count = batch.len() as u64;
            if let Err(error) = exporter.export(batch).await {
                tracing::debug!(%error, "could not export spans");
                if let Some(exporter) = EXPORTER.get() {
                    exporter.dropped.fetch_add(count, Ordering::Relaxed);
                }
                break;
            }
        }
        if let Some(dropped) =
            EXPORTER.get().map(|exporter| exporter.dropped.swap(0, Ordering::Relaxed)).filter(|dropped| *dropped > 0)
        {
            tracing::warn!(dropped, "dropped spans: the collector is unavailable or too slow");
        }
        if let Some(flushed) = flushed {
            // Fails if the caller stopped waiting.
            let _ = flushed.send(());
        }
    }
}
