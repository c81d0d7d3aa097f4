//! Tells the world what a change in the store has led to, after the commit and off the caller's path.

use tokio::sync::{mpsc, oneshot};

use crate::{broker::Broker, model::Effects};

/// Effects that may wait; beyond them the relay and the watchers' own looks at the store have to do.
const BACKLOG: usize = 8192;
/// Effects that go out together.
const BATCH: usize = 256;

enum Order {
    Announce(Effects),
    Flush(oneshot::Sender<()>),
}

/// Publishes effects in the background. Cheap to clone. What it cannot publish, the relay will: nothing depends on it but speed.
#[derive(Clone)]
pub struct Announcer(mpsc::Sender<Order>);

impl Announcer {
    /// Begins to work; ends with its last clone. Needs a running tokio runtime.
    pub fn start(broker: Broker) -> Self {
        let (sender, mut receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            let mut orders = Vec::new();
            while receiver.recv_many(&mut orders, BATCH).await > 0 {
                let mut effects = Effects::default();
                let mut flushed = Vec::new();
                for order in orders.drain(..) {
                    match order {
                        Order::Announce(one) => {
                            effects.ready.extend(one.ready);
                            effects.events.extend(one.events);
                        }
                        Order::Flush(done) => flushed.push(done),
                    }
                }
                publish(&broker, &effects).await;
                for done in flushed {
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
            }
        });
        Self(sender)
    }

    /// Hands effects over; returns at once.
    pub fn announce(&self, effects: Effects) {
        if !effects.is_empty() && self.0.try_send(Order::Announce(effects)).is_err() {
            tracing::warn!("more to announce than can wait; the relay will publish the rest");
        }
    }

    /// Waits until all that was announced before is out or given up.
    pub async fn flush(&self) {
        let (done, waiting) = oneshot::channel();
        if self.0.send(Order::Flush(done)).await.is_ok() {
            // An error means that the announcer has ended, and with it all that was announced.
            let _ = waiting.await;
        }
    }
}

async fn publish(broker: &Broker, effects: &Effects) {
    if effects.is_empty() || !broker.is_connected() {
        return;
    }
    let (published, events) = tokio::join!(broker.publish(&effects.ready), broker.publish_events(&effects.events));
    if let Err(error) = events {
        tracing::debug!(%error, "events not published; watchers will find them in the store");
    }
    if let Some(error) = published.error {
        tracing::warn!(jobs = published.failed.len(), error, "jobs not published; the relay will try again");
    }
}
