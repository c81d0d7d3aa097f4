//! Live events: one feed from the broker for each process, fanned out to its watchers.
//!
//! The store numbers and keeps every event; the feed only saves time. A watcher reads the store
//! when a number is missing or the feed is silent. So it sees every event exactly once, even if the
//! broker fails.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::stream::{self, Stream};
use parking_lot::Mutex;
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

/// Events by which a watcher may lag before it reads the store instead.
const BUFFER: usize = 32;
/// Silence of the feed after which a watcher reads the store.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The same while the broker is disconnected.
const POLL_INTERVAL_WITHOUT_FEED: Duration = Duration::from_millis(500);
/// Delay before a failed call is retried.
const RETRY_DELAY: Duration = Duration::from_millis(500);

type Watchers = Arc<Mutex<HashMap<JobId, broadcast::Sender<Event>>>>;

/// Serves the watchers of this process. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    store: Store,
    broker: Broker,
    watchers: Watchers,
    _guard: Arc<DropGuard>,
}

/// A watcher's subscription to the feed; it ends when dropped.
struct Subscription {
    job: JobId,
    watchers: Watchers,
    events: broadcast::Receiver<Event>,
}

impl Subscription {
    fn new(watchers: &Watchers, job: JobId) -> Self {
        let mut senders = watchers.lock();
        let events = senders.entry(job).or_insert_with(|| broadcast::channel(BUFFER).0).subscribe();
        Self { job, watchers: watchers.clone(), events }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut senders = self.watchers.lock();
        // This subscription's own receiver still counts.
        if senders.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            senders.remove(&self.job);
        }
    }
}

/// A watch in progress.
struct Watch {
    hub: Hub,
    subscription: Subscription,
    tenant: Option<TenantId>,
    job: JobId,
    /// Number of the last event returned.
    last_seq: i64,
    /// Events read and not returned yet.
    pending: VecDeque<Event>,
    /// Whether to read the store before the feed.
    must_read: bool,
    ended: bool,
}

impl Hub {
    /// Subscribes to the feed until the last clone is dropped. Needs a running tokio runtime.
    pub fn start(store: Store, broker: Broker) -> Self {
        let watchers = Watchers::default();
        let stop = CancellationToken::new();
        let feed = follow_feed(broker.clone(), watchers.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(feed));
        Self { store, broker, watchers, _guard: Arc::new(stop.drop_guard()) }
    }

    /// Events of an analysis after number `after` (0 for all), in order and as they happen. The
    /// stream ends after a final state. It is empty if `tenant` has no such analysis; without a
    /// tenant it serves any analysis.
    pub fn watch(
        &self,
        tenant: Option<TenantId>,
        job: JobId,
        after: i64,
    ) -> impl Stream<Item = Event> + Send + 'static {
        let watch = Watch {
            // The subscription precedes the first read, so nothing between the two is missed.
            subscription: Subscription::new(&self.watchers, job),
            hub: self.clone(),
            tenant,
            job,
            last_seq: after,
            pending: VecDeque::new(),
            must_read: true,
            ended: false,
        };
        stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) })
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(event) = self.pending.pop_front() {
                if event.seq > self.last_seq {
                    self.last_seq = event.seq;
                    self.ended = is_terminal(&event);
                    return Some(event);
                }
            }
            if self.ended {
                return None;
            }
            if self.must_read {
                self.read().await;
                continue;
            }
            let silence = if self.hub.broker.is_connected() { POLL_INTERVAL } else { POLL_INTERVAL_WITHOUT_FEED };
            match timeout(silence, self.subscription.events.recv()).await {
                Ok(Ok(event)) if event.seq <= self.last_seq => {}
                Ok(Ok(event)) if event.seq == self.last_seq + 1 => self.pending.push_back(event),
                // A gap, a lag, or silence.
                Ok(_) | Err(_) => self.must_read = true,
            }
        }
    }

    /// Reads new events from the store. Without new events of a finished or unknown analysis, the
    /// watch ends.
    async fn read(&mut self) {
        match self.new_events().await {
            Ok(Some(events)) => {
                self.pending.extend(events);
                self.must_read = false;
            }
            Ok(None) => self.ended = true,
            Err(error) => {
                tracing::debug!(%error, "could not read events");
                sleep(RETRY_DELAY).await;
            }
        }
    }

    async fn new_events(&self) -> Result<Option<Vec<Event>>, StoreError> {
        let events = self.hub.store.events_after(self.tenant, self.job, self.last_seq).await?;
        if !events.is_empty() {
            return Ok(Some(events));
        }
        if self.hub.store.job_of(self.tenant, self.job).await?.is_some_and(|job| !job.state.is_terminal()) {
            return Ok(Some(events));
        }
        // It may have ended between the two reads.
        let events = self.hub.store.events_after(self.tenant, self.job, self.last_seq).await?;
        Ok(if events.is_empty() { None } else { Some(events) })
    }
}

/// Whether no event follows. A replay starts a new series, for new watchers.
fn is_terminal(event: &Event) -> bool {
    matches!(event.state.as_str(), "completed" | "dead" | "cancelled")
}

async fn follow_feed(broker: Broker, watchers: Watchers) {
    loop {
        broker.connected().await;
        match broker.subscribe().await {
            Ok(mut feed) => {
                while let Ok(event) = feed.next().await {
                    let senders = watchers.lock();
                    if let Some(sender) = senders.get(&event.job) {
                        // An error means that the last watcher is leaving.
                        let _ = sender.send(event);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "could not subscribe to events; watchers read the store instead"),
        }
        sleep(RETRY_DELAY).await;
    }
}
