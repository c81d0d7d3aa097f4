//! Whether the model still gives right answers. Asked by a task of its own, so that probes never wait behind posts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time};

use crate::{Engine, metrics::Metrics};

/// How often the model is asked.
pub const EVERY: Duration = Duration::from_secs(15);
/// How long a question may wait behind posts before the model counts as stuck. A full queue of long posts takes seconds.
pub const STUCK: Duration = Duration::from_secs(120);

/// The last answer. Cheap to clone.
#[derive(Clone)]
pub struct Health(watch::Receiver<Verdict>);

#[derive(Clone)]
struct Verdict {
    at: Instant,
    said: Result<(), String>,
}

impl Health {
    /// Watches an engine that has just started, which answered rightly then. Ends when every clone of the health is gone.
    pub fn watch(engine: Arc<Engine>, metrics: Arc<Metrics>) -> Self {
        metrics.healthy(true);
        let (write, read) = watch::channel(Verdict { at: Instant::now(), said: Ok(()) });
        tokio::spawn(async move {
            let mut ticks = time::interval(EVERY);
            ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
            while !write.is_closed() {
                ticks.tick().await;
                let said = match time::timeout(STUCK, engine.check()).await {
                    Ok(answer) => answer.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("the model has not answered within {} s", STUCK.as_secs())),
                };
                if let Err(reason) = &said {
                    tracing::error!(reason, "the model failed its probe");
                }
                metrics.healthy(said.is_ok());
                let _ = write.send(Verdict { at: Instant::now(), said });
            }
        });
        Self(read)
    }

    /// The last answer's text when it was wrong, or that there has been none for too long.
    pub fn ask(&self) -> Result<(), String> {
        let verdict = self.0.borrow();
        verdict.said.clone()?;
        let silence = verdict.at.elapsed();
        if silence > EVERY + 2 * STUCK {
            return Err(format!("the model was last asked {} s ago", silence.as_secs()));
        }
        Ok(())
    }
}
