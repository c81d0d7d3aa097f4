//! Trace contexts, and the one that a task works in.

use std::{fmt, future::Future};

use prometheus_client::encoding::EncodeLabelSet;

use super::export;

/// The HTTP header that carries a context.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Context;
}

/// Trace id, span id and sampling decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) sampled: bool,
}

impl Context {
    /// Starts a new trace.
    pub fn root(sampled: bool) -> Self {
        Self { trace: rand::random(), span: rand::random(), sampled }
    }

    /// The context of a child span.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: rand::random(), ..*self }
    }

    /// Parses a `traceparent` of version 00, or the part of a later version that has the same form.
    ///
    /// Returns `None` for a malformed header, as the recommendation requires.
    pub fn parse(header: &str) -> Option<Self> {
        let mut fields = header.trim().split('-');
        let version: [u8; 1] = bytes(fields.next()?)?;
        let (trace, span) = (bytes(fields.next()?)?, bytes(fields.next()?)?);
        let flags: [u8; 1] = bytes(fields.next()?)?;
        let acceptable = version[0] != 0xff && (version[0] > 0 || fields.next().is_none());
        (acceptable && trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled: flags[0] & 1 == 1 })
    }

    /// The trace id in hexadecimal, as in log lines and exemplars.
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    /// The exemplar of a metric; `None` if the trace is not sampled or not exported.
    pub fn exemplar(&self) -> Option<TraceLabel> {
        (self.sampled && export::is_on()).then(|| TraceLabel { trace_id: self.trace_id() })
    }

    /// Whether spans are recorded.
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), u8::from(self.sampled))
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Decodes exactly `2 * N` lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Label set of an exemplar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TraceLabel {
    trace_id: String,
}

/// [`Context::exemplar`] of the current task.
pub fn exemplar() -> Option<TraceLabel> {
    current().and_then(|context| context.exemplar())
}

/// The context of the current task.
pub fn current() -> Option<Context> {
    CURRENT.try_with(|context| *context).ok()
}

/// Runs `work` in `context`. Spawned tasks do not inherit it.
pub async fn scope<F: Future>(context: Context, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_round_trips() {
        for sampled in [true, false] {
            let context = Context::root(sampled);
            assert_eq!(Context::parse(&context.to_string()), Some(context));
            assert_eq!(context.child().trace_id(), context.trace_id());
            assert_ne!(context.child(), context);
        }
    }

    #[test]
    fn traceparent_is_parsed_as_recommended() {
        let sampled = Context::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(sampled.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(sampled.is_sampled());
        assert!(!Context::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap().is_sampled());
        assert!(
            Context::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings").is_some()
        );
        for odd in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Context::parse(odd), None, "{odd}");
        }
    }

    #[tokio::test]
    async fn scope_sets_the_current_context() {
        assert_eq!(current(), None);
        let context = Context::root(true);
        assert_eq!(scope(context, async { current() }).await, Some(context));
    }
}
