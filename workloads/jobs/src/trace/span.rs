use std::{borrow::Cow, fmt::Display, future::Future, time::SystemTime};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::SpanData;

use super::{Context, current, export, scope};

/// What a span is to the one on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server,
    /// Works on what was queued.
    Consumer,
    /// Asks somebody else.
    Client,
    /// None of these.
    Internal,
}

/// A piece of work with its beginning and its end, which is when it is dropped. Recorded when its context is sampled; else it costs next to nothing.
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
    /// Begins now, below `parent`; without one it begins a trace, and chance decides whether that is sampled.
    pub fn begin(kind: Kind, parent: Option<Context>, name: impl Into<Cow<'static, str>>) -> Self {
        let mut context = parent.map_or_else(|| Context::root(export::samples()), |parent| parent.child());
        // Callers may ask for as many as they like, and get some.
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

    /// The span's own place, which is the parent of what happens in it.
    pub const fn context(&self) -> Context {
        self.context
    }

    /// Adds an attribute, named by OpenTelemetry's semantic conventions where they have a name for it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(recording) = &mut self.recording {
            recording.attributes.push(KeyValue::new(key, value));
        }
    }

    /// Says that the work failed, and why; never with a secret.
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
            events: Default::default(),
            links: Default::default(),
            status,
            instrumentation_scope: InstrumentationScope::builder("switchyard").build(),
        });
    }
}

/// Runs `work` in a span of its own below the task's, when the task works in one; its error, in words, is the span's.
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
