//! Spans.

use std::{borrow::Cow, fmt::Display, future::Future, time::SystemTime};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{
    context::{Context, current, scope},
    export,
};

/// OpenTelemetry's span kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Handles a request.
    Server,
    /// Handles a queued job.
    Consumer,
    /// Calls another service.
    Client,
    /// None of these.
    Internal,
}

/// A span, which ends when it is dropped. Recorded only if its context is sampled.
pub struct Span {
    context: Context,
    recording: Option<Box<Recording>>,
}

struct Recording {
    parent: Option<Context>,
    name: Cow<'static, str>,
    kind: Kind,
    began: SystemTime,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Span {
    /// Starts a span below `parent`. Without one it starts a trace, which is sampled at random.
    pub fn begin(kind: Kind, parent: Option<Context>, name: impl Into<Cow<'static, str>>) -> Self {
        let mut context = parent.map_or_else(|| Context::root(export::samples()), |parent| parent.child());
        // Callers can request sampling; the rate limit bounds it.
        context.sampled &= kind != Kind::Server || export::admits();
        let recording = (context.is_sampled() && export::is_on()).then(|| {
            Box::new(Recording {
                parent,
                name: name.into(),
                kind,
                began: SystemTime::now(),
                attributes: Vec::new(),
                status: Status::Unset,
            })
        });
        Self { context, recording }
    }

    /// The span's context, which is the parent of child spans.
    pub const fn context(&self) -> Context {
        self.context
    }

    /// Adds an attribute, named as in OpenTelemetry's semantic conventions if they have a name.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(recording) = &mut self.recording {
            recording.attributes.push(KeyValue::new(key, value));
        }
    }

    /// Sets the status to error. `why` must not contain a secret.
    pub fn fail(&mut self, why: impl Display) {
        if let Some(recording) = &mut self.recording {
            recording.status = Status::error(why.to_string());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        let Recording { parent, name, kind, began, attributes, status } = *recording;
        export::send(SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(self.context.trace),
                SpanId::from_bytes(self.context.span),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span)),
            parent_span_is_remote: matches!(kind, Kind::Server | Kind::Consumer),
            span_kind: match kind {
                Kind::Server => SpanKind::Server,
                Kind::Consumer => SpanKind::Consumer,
                Kind::Client => SpanKind::Client,
                Kind::Internal => SpanKind::Internal,
            },
            name,
            start_time: began,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: InstrumentationScope::builder("switchyard").build(),
        });
    }
}

/// Runs `work` in a child span of the task's span, if there is one. An error sets the span's
/// status.
///
/// # Errors
/// The error of `work`.
pub async fn within<T, E, F>(kind: Kind, name: &'static str, work: F) -> Result<T, E>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let Some(parent) = current() else { return work.await };
    let mut span = Span::begin(kind, Some(parent), name);
    let outcome = scope(span.context(), work).await;
    if let Err(error) = &outcome {
        span.fail(error);
    }
    outcome
}
