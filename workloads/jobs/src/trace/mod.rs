//! Distributed traces, from the request over the stored job to the worker and its outgoing calls.
//!
//! A [`Context`] is the `traceparent` of W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>). Every request has one, and its id is in the request's
//! log lines, whether spans are exported or not. Spans are recorded where the context is sampled,
//! and exported as OTLP ([`export`]).

mod context;
pub mod export;
mod span;

pub use context::{Context, TRACEPARENT, TraceLabel, current, exemplar, scope};
pub use span::{Kind, Span, within};
