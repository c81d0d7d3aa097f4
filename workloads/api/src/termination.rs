//! A process' last words, for whoever looks after it: one line of JSON that becomes part of the container's status.

use std::path::PathBuf;

use serde_json::json;

/// Where Kubernetes reads a container's last words.
const DEFAULT_LOG: &str = "/dev/termination-log";
/// Names another file.
const LOG_ENV: &str = "SWITCHYARD_TERMINATION_LOG";

/// Writes `{"component","message"}` to the termination log and to standard error.
pub fn report(component: &str, message: &str) {
    let line = json!({"component": component, "message": message}).to_string();
    eprintln!("{line}");
    let path = std::env::var_os(LOG_ENV).map_or_else(|| DEFAULT_LOG.into(), PathBuf::from);
    if let Err(error) = std::fs::write(&path, &line) {
        eprintln!("{} could not be written: {error}", path.display());
    }
}
