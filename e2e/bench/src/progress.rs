//! Progress messages on standard error.

/// Prints `message` with the UTC time.
pub fn log_progress(message: &str) {
    eprintln!("[{}] {message}", chrono::Utc::now().format("%H:%M:%S"));
}
