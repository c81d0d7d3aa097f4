//! Live events for watchers: one feed from the broker for a process, handed to whoever watches an analysis here.
//!
//! The store has every event with its number; the feed only makes it quick. A watcher that sees a number missing, or hears nothing for a while, looks in
//! the store, so nobody misses an event or sees one twice, whatever the broker does.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::stream::{self, Stream};
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    broker::Broker,
    model::{Event, JobId, TenantId},
    store::{Store, StoreError},
};

/// Events that a slow watcher may fall behind before it is sent to the store for them.
const BUFFER: usize = 32;
/// How long a watcher hears nothing before it looks in the store.
const QUIET: Duration = Duration::from_secs(5);
/// The same while there is no feed.
const QUIET_WITHOUT_FEED: Duration = Duration::from_millis(500);
/// Wait before another attempt at what failed.
const AGAIN: Duration = Duration::from_millis(500);

type Watchers = Arc<Mutex<HashMap<JobId, broadcast::Sender<Event>>>>;

/// The events of this process' watchers. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    store: Store,
    broker: Broker,
    watchers: Watchers,
    _guard: Arc<DropGuard>,
}

/// A watcher's place among the others, given up when it ends.
struct Seat {
    job: JobId,
    watchers: Watchers,
    events: broadcast::Receiver<Event>,
}

impl Seat {
    fn take(watchers: &Watchers, job: JobId) -> Self {
        let mut seats = watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let events = seats.entry(job).or_insert_with(|| broadcast::channel(BUFFER).0).subscribe();
        Self { job, watchers: watchers.clone(), events }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        // This seat's own receiver is still there.
        if seats.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            seats.remove(&self.job);
        }
    }
}

/// A watch in progress.
struct Watch {
    hub: Hub,
    seat: Seat,
    tenant: Option<TenantId>,
    job: JobId,
    /// Number of the last event handed out.
    seen: i64,
    /// Read and not handed out yet.
    pending: VecDeque<Event>,
    /// Whether the store is to be asked before anything else.
    look: bool,
    ended: bool,
}

impl Hub {
    /// Begins to listen; ends with its last clone. Needs a running tokio runtime.
    pub fn start(store: Store, broker: Broker) -> Self {
        let watchers = Watchers::default();
        let stop = CancellationToken::new();
        let listening = listen(broker.clone(), watchers.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
        Self { store, broker, watchers, _guard: Arc::new(stop.drop_guard()) }
    }

    /// The events of an analysis after number `after` (0 for all), each once and in order, as they happen; ends after the terminal one. An
    /// unknown analysis, or one of another tenant than `tenant`, has none.
    pub fn watch(
        &self,
        tenant: Option<TenantId>,
        job: JobId,
        after: i64,
    ) -> impl Stream<Item = Event> + Send + 'static {
        let watch = Watch {
            // The seat first, the store second: what happens between the two is in both.
            seat: Seat::take(&self.watchers, job),
            hub: self.clone(),
            tenant,
            job,
            seen: after,
            pending: VecDeque::new(),
            look: true,
            ended: false,
        };
        stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) })
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(event) = self.pending.pop_front() {
                if event.seq > self.seen {
                    self.seen = event.seq;
                    self.ended = is_terminal(&event);
                    return Some(event);
                }
            }
            if self.ended {
                return None;
            }
            if self.look {
                self.look().await;
                continue;
            }
            let quiet = if self.hub.broker.is_connected() { QUIET } else { QUIET_WITHOUT_FEED };
            match timeout(quiet, self.seat.events.recv()).await {
                Ok(Ok(event)) if event.seq <= self.seen => {}
                Ok(Ok(event)) if event.seq == self.seen + 1 => self.pending.push_back(event),
                // A gap, a slow watcher, or silence.
                Ok(_) | Err(_) => self.look = true,
            }
        }
    }

    /// Asks the store for what is new. Nothing new of an analysis that has ended, or that is not there, is the end.
    async fn look(&mut self) {
        match self.news().await {
            Ok(Some(events)) => {
                self.pending.extend(events);
                self.look = false;
            }
            Ok(None) => self.ended = true,
            Err(error) => {
                tracing::debug!(%error, "events not read; trying again");
                sleep(AGAIN).await;
            }
        }
    }

    async fn news(&self) -> Result<Option<Vec<Event>>, StoreError> {
        let events = self.hub.store.events_after(self.tenant, self.job, self.seen).await?;
        if !events.is_empty() {
            return Ok(Some(events));
        }
        if self.hub.store.job_of(self.tenant, self.job).await?.is_some_and(|job| !job.state.is_terminal()) {
            return Ok(Some(events));
        }
        // It may have ended between the two questions.
        let events = self.hub.store.events_after(self.tenant, self.job, self.seen).await?;
        Ok(if events.is_empty() { None } else { Some(events) })
    }
}

/// Whether nothing comes after it. A replay of a dead analysis begins a new series for new watchers.
fn is_terminal(event: &Event) -> bool {
    matches!(event.state.as_str(), "completed" | "dead" | "cancelled")
}

async fn listen(broker: Broker, watchers: Watchers) {
    loop {
        broker.connected().await;
        match broker.subscribe().await {
            Ok(mut feed) => {
                while let Ok(event) = feed.next().await {
                    let seats = watchers.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(sender) = seats.get(&event.job) {
                        // An error means that the last watcher is just leaving.
                        let _ = sender.send(event);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot listen to events; watchers look in the store meanwhile"),
        }
        sleep(AGAIN).await;
    }
}
