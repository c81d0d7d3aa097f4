//! Logs, as JSON lines on standard output.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// The filter without `RUST_LOG`.
pub const LOG_FILTER: &str = "info,lapin=warn";

/// Writes logs as JSON lines to standard output.
///
/// `RUST_LOG` sets the level; `info` by default. A line carries the fields of its innermost span,
/// such as a request's id. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let lines = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    // Fails only when a subscriber is installed already, which then stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
