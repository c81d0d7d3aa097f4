//! The termination message of the container: one line of JSON, which Kubernetes shows in the status
//! of the pod.

use std::path::PathBuf;

use serde_json::json;

/// Where Kubernetes reads the termination message.
const DEFAULT_LOG: &str = "/dev/termination-log";
/// The environment variable of another path.
const LOG_ENV: &str = "SWITCHYARD_TERMINATION_LOG";

/// Writes `{"component","message"}` to the termination log and to standard error.
#[expect(clippy::print_stderr, reason = "read by people, also without a log collector")]
pub fn report(component: &str, message: &str) {
    let line = json!({"component": component, "message": message}).to_string();
    eprintln!("{line}");
    let path = std::env::var_os(LOG_ENV).map_or_else(|| DEFAULT_LOG.into(), PathBuf::from);
    if let Err(error) = std::fs::write(&path, &line) {
        eprintln!("could not write {}: {error}", path.display());
    }
}
