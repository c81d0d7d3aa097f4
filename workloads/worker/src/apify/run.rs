//! A run of the actor, and its abort when nobody waits for it any more.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde::Deserialize;
use tokio::runtime::Handle;

/// Timeout of the request that aborts a run.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Apify's envelope of a successful response.
#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    pub data: T,
}

/// A run as Apify describes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    pub id: String,
    pub status: String,
    #[serde(default)]
    pub status_message: Option<String>,
    pub default_dataset_id: String,
}

/// The state of a run, as far as the client distinguishes it.
pub(super) enum RunState {
    Running,
    Succeeded,
    Failed,
}

impl Run {
    pub fn state(&self) -> RunState {
        match self.status.as_str() {
            "SUCCEEDED" => RunState::Succeeded,
            "READY" | "RUNNING" | "TIMING-OUT" | "ABORTING" => RunState::Running,
            _ => RunState::Failed,
        }
    }
}

/// Aborts a run on drop, unless it has ended.
///
/// A job that is cancelled, times out or is released then costs the account no more than it has to.
/// The abort is best effort: if it fails, the run ends at the timeout that it was started with.
pub(super) struct AbortOnDrop {
    abort: Option<(RequestBuilder, String)>,
}

impl AbortOnDrop {
    /// `abort` is the request that aborts the run with the id `run`.
    pub fn new(abort: RequestBuilder, run: &str) -> Self {
        Self { abort: Some((abort, run.to_owned())) }
    }

    /// Disarms the guard: the run has ended.
    pub fn disarm(mut self) {
        self.abort = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        let (Some((request, run)), Ok(runtime)) = (self.abort.take(), Handle::try_current()) else { return };
        runtime.spawn(async move {
            match request.timeout(ABORT_TIMEOUT).send().await {
                Ok(response) if response.status().is_success() => tracing::info!(run, "aborted run"),
                Ok(response) => tracing::warn!(run, status = %response.status(), "could not abort run"),
                Err(error) => tracing::warn!(run, error = %error.without_url(), "could not abort run"),
            }
        });
    }
}
