//! Continuous calls, to check that a service stays available.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use futures::future::join_all;
use tokio::task::JoinHandle;

use crate::api::ApiClient;

/// Concurrent callers.
const CALLERS: usize = 4;
/// Pause between two calls of a caller.
const PAUSE: Duration = Duration::from_millis(300);

/// Concurrent callers that repeat a call, each time on a new connection.
pub struct Callers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<BTreeMap<String, usize>>>,
}

impl Callers {
    /// Starts callers of `path`.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn start(client: &ApiClient, path: &'static str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..CALLERS {
            let (client, stop) = (client.without_keep_alive()?, stop.clone());
            tasks.push(tokio::spawn(async move {
                let mut outcomes = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let outcome = match client.get(path).await {
                        Ok(response) => response.status.to_string(),
                        Err(error) => format!("{error:#}"),
                    };
                    *outcomes.entry(outcome).or_default() += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                outcomes
            }));
        }
        Ok(Self { stop, tasks })
    }

    /// Stops the callers and returns the number of their calls.
    ///
    /// # Errors
    /// A call failed or got a status other than 200; the message counts the outcomes.
    pub async fn stop_and_expect_success(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for caller in join_all(self.tasks).await {
            for (outcome, count) in caller? {
                *outcomes.entry(outcome).or_default() += count;
            }
        }
        let succeeded = outcomes.get("200").copied().unwrap_or(0);
        ensure!(outcomes.len() == 1 && succeeded > 0, "outcomes of calls: {outcomes:?}");
        Ok(succeeded)
    }
}
