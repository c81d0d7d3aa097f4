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

use crate::ApiClient;

/// Callers at once, and the time from one call of each to its next.
const CALLERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(300);

/// Callers of an API that come again and again, each time on a connection of its own.
pub struct Callers {
    stop: Arc<AtomicBool>,
    calls: Vec<JoinHandle<BTreeMap<String, usize>>>,
}

impl Callers {
    /// They call `path` from now on.
    pub fn of(client: &ApiClient, path: &'static str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut calls = Vec::new();
        for _ in 0..CALLERS {
            let (client, stop) = (client.reconnecting()?, stop.clone());
            calls.push(tokio::spawn(async move {
                let mut answers = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = match client.get(path).await {
                        Ok(answer) => answer.status.to_string(),
                        Err(error) => format!("{error:#}"),
                    };
                    *answers.entry(answer).or_default() += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answers
            }));
        }
        Ok(Self { stop, calls })
    }

    /// Sends them home. Answers with how many calls there were.
    ///
    /// # Errors
    /// When one of them was not answered with 200: with what came instead, and how often.
    pub async fn all_were_served(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        for of_one in join_all(self.calls).await {
            for (answer, count) in of_one? {
                *answers.entry(answer).or_default() += count;
            }
        }
        let served = answers.get("200").copied().unwrap_or(0);
        ensure!(answers.len() == 1 && served > 0, "callers were answered with {answers:?}");
        Ok(served)
    }
}
