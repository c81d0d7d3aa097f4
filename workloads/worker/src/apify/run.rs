//! A run of the actor.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde::Deserialize;
use tokio::runtime::Handle;

/// How long the request to abort a run may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What Apify puts around a run.
#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    pub data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    pub id: String,
    pub status: String,
    #[serde(default)]
    pub status_message: Option<String>,
    pub default_dataset_id: String,
}

/// How far a run is.
pub(super) enum Standing {
    UnderWay,
    Succeeded,
    Failed,
}

impl Run {
    pub fn standing(&self) -> Standing {
        match self.status.as_str() {
            "SUCCEEDED" => Standing::Succeeded,
            "READY" | "RUNNING" | "TIMING-OUT" | "ABORTING" => Standing::UnderWay,
            _ => Standing::Failed,
        }
    }
}

/// A run under way. Dropped before its end it is aborted, so that the account does not pay for what nobody waits for: the job was cancelled, ran out of time,
/// or was handed back. That is best effort; without it the run ends at the timeout that it was started with.
pub(super) struct Pending {
    abort: Option<(RequestBuilder, String)>,
}

impl Pending {
    /// `abort` is the request that aborts the run.
    pub fn new(abort: RequestBuilder, run: &str) -> Self {
        Self { abort: Some((abort, run.to_owned())) }
    }

    /// The run has ended by itself.
    pub fn ended(mut self) {
        self.abort = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let (Some((request, run)), Ok(runtime)) = (self.abort.take(), Handle::try_current()) else { return };
        runtime.spawn(async move {
            match request.timeout(PATIENCE).send().await {
                Ok(answer) if answer.status().is_success() => tracing::info!(run, "run aborted"),
                Ok(answer) => tracing::warn!(run, status = %answer.status(), "run not aborted"),
                Err(error) => tracing::warn!(run, error = %error.without_url(), "run not aborted"),
            }
        });
    }
}
