//! Logs.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Writes logs as JSON lines to standard output. `RUST_LOG` says how much; `info` by default. A line names the span that it belongs to, such as a
/// request with its id. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,lapin=warn"));
    let lines = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    // Only a second call can fail, and then the first one's logs are in place.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
