//! Runs of the operator with one fault, in simulated time.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    cluster::{objects, started},
    fault::Fault,
};

/// Time to converge after any single fault.
pub const CONVERGENCE_TIME: Duration = Duration::from_mins(4);
/// Then at least one more reconcile of every resource.
pub const QUIET_TIME: Duration = Duration::from_secs(400);

/// Result of a scenario.
pub struct Outcome {
    pub objects: BTreeMap<String, String>,
    /// Number of calls before convergence, by title.
    pub calls: BTreeMap<String, usize>,
    /// Number of calls after convergence.
    pub later: usize,
    /// Changes after convergence.
    pub changed: Vec<String>,
    pub injected: usize,
}

impl Outcome {
    /// Number of calls before convergence.
    pub fn total(&self) -> usize {
        self.calls.values().sum()
    }
}

/// Runs the operator with a fault until it has converged, and for [`QUIET_TIME`] after that.
pub async fn run(fault: Option<Fault>) -> Outcome {
    let server = started(fault).await;
    sleep(CONVERGENCE_TIME).await;
    let (at, version, found) = (Instant::now(), server.store(|store| store.version()), objects(&server));
    sleep(QUIET_TIME).await;
    let mut outcome = Outcome {
        objects: found,
        calls: BTreeMap::new(),
        later: 0,
        changed: server.store(|store| {
            let after = store.changes.iter().filter(|change| change.version > version);
            after
                .map(|change| {
                    format!(
                        "{} {}",
                        change.plural,
                        change.after.as_ref().map_or(&Value::Null, |o| &o["metadata"]["name"])
                    )
                })
                .collect()
        }),
        injected: server.injected(),
    };
    for call in server.calls() {
        if call.at <= at {
            *outcome.calls.entry(call.title).or_default() += 1;
        } else {
            outcome.later += 1;
        }
    }
    outcome
}

/// Runs `work` on a runtime with paused time, which advances whenever no task is runnable.
pub fn in_simulated_time<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// Checks each of `all` in parallel. Returns the failures.
pub fn each<T: Sync>(all: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = check(one) {
                        failures.lock().push(why);
                    }
                }
            });
        }
    });
    failures.into_inner()
}
