//! The health of the model, for the pod's probes.
//!
//! A background task runs the model's probe, so that the pod's probes never wait behind posts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time};

use crate::{engine::Engine, metrics::Metrics};

/// Interval of the model's probe.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// Time after which an unanswered probe counts as failed. It waits behind queued posts, and a full
/// queue of long posts takes seconds.
pub const PROBE_TIMEOUT: Duration = Duration::from_mins(2);

/// The last result of the model's probe. Cheap to clone.
#[derive(Clone)]
pub struct Health(watch::Receiver<ProbeResult>);

#[derive(Clone)]
struct ProbeResult {
    at: Instant,
    result: Result<(), String>,
}

impl Health {
    /// Probes an engine that has just started and so has passed its probe. Ends when all clones of
    /// the health are dropped.
    pub fn watch(engine: Arc<Engine>, metrics: Arc<Metrics>) -> Self {
        metrics.healthy(true);
        let (write, read) = watch::channel(ProbeResult { at: Instant::now(), result: Ok(()) });
        tokio::spawn(async move {
            let mut ticks = time::interval(PROBE_INTERVAL);
            ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
            while !write.is_closed() {
                ticks.tick().await;
                let result = match time::timeout(PROBE_TIMEOUT, engine.check()).await {
                    Ok(checked) => checked.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("the model did not answer its probe within {} s", PROBE_TIMEOUT.as_secs())),
                };
                if let Err(reason) = &result {
                    tracing::error!(reason, "model failed its probe");
                }
                metrics.healthy(result.is_ok());
                let _ = write.send(ProbeResult { at: Instant::now(), result });
            }
        });
        Self(read)
    }

    /// # Errors
    /// Why the last probe failed, or that there has been no probe for too long.
    pub fn check(&self) -> Result<(), String> {
        let last = self.0.borrow();
        last.result.clone()?;
        let age = last.at.elapsed();
        if age > PROBE_INTERVAL + 2 * PROBE_TIMEOUT {
            return Err(format!("the last probe of the model was {} s ago", age.as_secs()));
        }
        Ok(())
    }
}
