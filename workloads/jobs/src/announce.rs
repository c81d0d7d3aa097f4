//! Publishes the effects of store changes, in the background and after the commit.

use tokio::sync::{mpsc, oneshot};

use crate::{broker::Broker, model::Effects};

/// Effects that may wait. Further ones are dropped; the relay publishes their tickets, and watchers
/// read their events from the store.
const BACKLOG: usize = 8192;
/// Effects that are published together.
const BATCH: usize = 256;

enum Command {
    Announce(Effects),
    Flush(oneshot::Sender<()>),
}

/// Publishes effects in the background. Cheap to clone. It only saves time: the relay publishes
/// what it cannot.
#[derive(Clone)]
pub struct Announcer(mpsc::Sender<Command>);

impl Announcer {
    /// Starts the background task, which ends with the last clone. Needs a running tokio runtime.
    pub fn start(broker: Broker) -> Self {
        let (sender, mut receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            let mut commands = Vec::new();
            while receiver.recv_many(&mut commands, BATCH).await > 0 {
                let mut effects = Effects::default();
                let mut flushed = Vec::new();
                for command in commands.drain(..) {
                    match command {
                        Command::Announce(one) => effects.extend(one),
                        Command::Flush(done) => flushed.push(done),
                    }
                }
                publish(&broker, &effects).await;
                for done in flushed {
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                }
            }
        });
        Self(sender)
    }

    /// Queues effects and returns at once.
    pub fn announce(&self, effects: Effects) {
        if !effects.is_empty() && self.0.try_send(Command::Announce(effects)).is_err() {
            tracing::warn!("dropped effects: the backlog is full; the relay will publish their tickets");
        }
    }

    /// Waits until everything announced before is published or dropped.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.0.send(Command::Flush(done)).await.is_ok() {
            // An error means that the task has ended.
            let _ = flushed.await;
        }
    }
}

async fn publish(broker: &Broker, effects: &Effects) {
    if effects.is_empty() || !broker.is_connected() {
        return;
    }
    let (published, events) = tokio::join!(broker.publish(&effects.ready), broker.publish_events(&effects.events));
    if let Err(error) = events {
        tracing::debug!(%error, "could not publish events; watchers will read them from the store");
    }
    if let Some(error) = published.error {
        tracing::warn!(tickets = published.failed.len(), error, "could not publish tickets; the relay will retry");
    }
}
