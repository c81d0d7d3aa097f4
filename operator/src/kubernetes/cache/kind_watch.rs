//! The watch of one kind: lists and watches for ever, and keeps the cache up to date.
//!
//! Works as a reflector of client-go does: list, watch from the version of the list, list again
//! when the watch expires. The steps are [`KindWatch::list_and_watch`], [`KindWatch::step`],
//! [`KindWatch::handle_event`] and [`KindWatch::handle_error`].

use std::{collections::BTreeSet, ops::ControlFlow, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    ResourceExt,
    runtime::{watcher, watcher::Event},
};
use rand::Rng as _;
use tokio::{
    sync::watch::Receiver,
    time::{sleep, timeout},
};

use crate::kubernetes::cache::{
    entry::{CachedObject, Key},
    index::ChangeSource,
    reconcile_request::ReconcileRequest,
    store::{WatchCache, WatchStatuses},
    watch_status::{WatchState, code_of, is_missing, message_of, refusal_reason},
};

/// Every kind is listed again after this long, in case a watch missed an event.
const RESYNC_INTERVAL: Duration = Duration::from_hours(1);
/// A watch without an error for this long is healthy. Longer than [`MAX_BACKOFF`].
const HEALTHY_AFTER: Duration = Duration::from_secs(90);
/// Longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Consecutive refusals after which the refusal is reported. A single one may come from an API
/// server whose authorizer is not in sync yet.
const REFUSALS_BEFORE_FAILURE: u32 = 3;
/// Backoff step before an optional kind is listed again after its watch was refused.
const MISSING_BACKOFF_STEP: u32 = 4;

/// Events of a list followed by a watch, without an end of its own.
pub(super) type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// The requests that an event causes, apart from those for the owners of its object.
pub(super) type Dependents<'a, K> = dyn FnMut(&Event<K>) -> BTreeSet<ReconcileRequest> + Send + 'a;

/// What the watch of a kind is made of.
pub(super) struct WatchSpec<'a, K> {
    pub kind: &'a str,
    /// Whether the operator works in a cluster that does not serve the kind.
    pub optional: bool,
    /// Starts a list followed by a watch.
    pub events: Box<dyn Fn() -> Events<K> + Send + 'a>,
    pub to_cached: Box<dyn Fn(&K) -> CachedObject + Send + 'a>,
    /// Called before the cache takes in the event.
    pub dependents: Box<Dependents<'a, K>>,
}

/// The watch of one kind.
pub(super) struct KindWatch<'a, K> {
    cache: &'a WatchCache,
    spec: WatchSpec<'a, K>,
    statuses: Receiver<WatchStatuses>,
    /// Requests of a list that has not ended. They wait, since a reconcile in the middle of a list
    /// would act on half of the objects.
    pending: BTreeSet<ReconcileRequest>,
    /// Number of the resync that the current list answers.
    resync_number: u64,
    consecutive_errors: u32,
}

impl<'a, K: ResourceExt + 'static> KindWatch<'a, K> {
    /// Registers the kind with the cache as not listed yet.
    pub fn new(cache: &'a WatchCache, spec: WatchSpec<'a, K>) -> Self {
        cache.set_state(spec.kind, WatchState::Unlisted);
        let statuses = cache.0.watches.subscribe();
        Self { cache, spec, statuses, pending: BTreeSet::new(), resync_number: 0, consecutive_errors: 0 }
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        loop {
            let mut events = self.list_and_watch();
            while self.step(&mut events).await.is_continue() {}
        }
    }

    /// Starts a list followed by a watch, which ends after [`RESYNC_INTERVAL`].
    fn list_and_watch(&mut self) -> Events<K> {
        self.resync_number = self.requested_resync();
        self.consecutive_errors = 0;
        // The jitter keeps the kinds from being listed all at once.
        let interval = RESYNC_INTERVAL.mul_f64(rand::rng().random_range(1.0..1.1));
        (self.spec.events)().take_until(Box::pin(sleep(interval))).boxed()
    }

    /// Handles the next event. Breaks when the kind has to be listed again.
    async fn step(&mut self, events: &mut Events<K>) -> ControlFlow<()> {
        let event = tokio::select! {
            event = timeout(HEALTHY_AFTER, events.next()) => event,
            () = resync_requested(&mut self.statuses, self.spec.kind, self.resync_number) => {
                return ControlFlow::Break(());
            }
        };
        match event {
            Ok(Some(Ok(event))) => {
                self.handle_event(event);
                ControlFlow::Continue(())
            }
            Ok(Some(Err(error))) => self.handle_error(&error).await,
            Ok(None) => ControlFlow::Break(()),
            // A healthy watch of objects that do not change is silent.
            Err(_) => {
                self.handle_silence();
                ControlFlow::Continue(())
            }
        }
    }

    fn handle_event(&mut self, event: Event<K>) {
        let ends_list = matches!(event, Event::InitDone);
        let is_change = matches!(event, Event::Apply(_) | Event::Delete(_));
        self.pending.extend((self.spec.dependents)(&event));
        self.pending.extend(self.update_cache(event));
        if ends_list || is_change {
            self.consecutive_errors = 0;
            self.cache.enqueue(std::mem::take(&mut self.pending));
            self.cache.set_state(self.spec.kind, WatchState::Listed);
        }
        if ends_list {
            self.cache.answer_resync(self.spec.kind, self.resync_number);
        }
    }

    /// Returns the requests that the change causes.
    fn update_cache(&self, event: Event<K>) -> BTreeSet<ReconcileRequest> {
        let (kind, to_cached) = (self.spec.kind, &self.spec.to_cached);
        let key = |object: &K| Key::of(kind, object.meta());
        let mut objects = self.cache.0.objects.lock();
        match event {
            Event::Init => {
                objects.begin_list(kind);
                BTreeSet::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                objects.put(&key(&object), to_cached(&object), ChangeSource::Watch)
            }
            Event::Delete(object) => objects.remove(&key(&object), &to_cached(&object)),
            Event::InitDone => {
                let (deleted, mut requests) = objects.end_list(kind);
                drop(objects);
                for key in deleted.into_iter().filter(|key| key.kind == "Secret") {
                    requests.extend(self.cache.secret_users(&key.namespace, &key.name));
                    self.cache.forget_secret(&key.namespace, &key.name);
                }
                requests
            }
        }
    }

    /// Records the error, waits, and breaks if the kind has to be listed again.
    async fn handle_error(&mut self, error: &watcher::Error) -> ControlFlow<()> {
        self.consecutive_errors += 1;
        self.record_error(error);
        self.cache.answer_resync(self.spec.kind, self.resync_number);
        // A refused watch leaves open whether the cluster still serves an optional kind. A list
        // decides.
        let must_list = self.spec.optional
            && matches!(error, watcher::Error::WatchStartFailed(error) if is_missing(code_of(error)));
        let errors = self.consecutive_errors;
        tokio::select! {
            () = sleep(backoff(if must_list { errors.max(MISSING_BACKOFF_STEP) } else { errors })) => {}
            () = resync_requested(&mut self.statuses, self.spec.kind, self.resync_number) => {
                return ControlFlow::Break(());
            }
        }
        if must_list { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn record_error(&self, error: &watcher::Error) {
        let kind = self.spec.kind;
        tracing::debug!(kind, %error, "could not watch");
        let (code, listing) = match error {
            watcher::Error::InitialListFailed(error) => (code_of(error), true),
            watcher::Error::WatchStartFailed(error) => (code_of(error), false),
            _ => (0, false),
        };
        if self.spec.optional && is_missing(code) {
            if listing {
                self.record_missing();
            }
            return;
        }
        let state = self.cache.state(kind).unwrap_or(WatchState::Unlisted);
        if state == WatchState::Missing {
            // A missing kind is listed again and again. Another error does not mean that it exists.
            return;
        }
        let (listed, refused) = (state.has_listed(), refusal_reason(code));
        // The cached objects stay valid while the API server is down, and for the first refusals.
        if !listed || (refused.is_some() && self.consecutive_errors >= REFUSALS_BEFORE_FAILURE) {
            self.cache.set_state(kind, WatchState::Failing { listed, refused, message: message_of(error) });
        }
    }

    /// Drops every object of a kind that the cluster does not serve.
    fn record_missing(&self) {
        let requests = {
            let mut objects = self.cache.0.objects.lock();
            objects.begin_list(self.spec.kind);
            objects.end_list(self.spec.kind).1
        };
        self.cache.set_state(self.spec.kind, WatchState::Missing);
        self.cache.enqueue(requests);
    }

    /// Ends the failure of a watch that has been restarted since.
    fn handle_silence(&mut self) {
        self.consecutive_errors = 0;
        if matches!(self.cache.state(self.spec.kind), Some(WatchState::Failing { listed: true, .. })) {
            self.cache.set_state(self.spec.kind, WatchState::Listed);
        }
    }

    fn requested_resync(&self) -> u64 {
        self.statuses.borrow().get(self.spec.kind).map_or(0, |status| status.requested_resync)
    }
}

/// Waits until a resync of `kind` later than number `current` is requested.
async fn resync_requested(statuses: &mut Receiver<WatchStatuses>, kind: &str, current: u64) {
    let is_requested =
        |statuses: &WatchStatuses| statuses.get(kind).is_some_and(|status| status.requested_resync > current);
    if statuses.wait_for(is_requested).await.is_err() {
        // The cache owns the sender, so it outlives the watch.
        std::future::pending::<()>().await;
    }
}

/// Pause after so many consecutive errors: about 1 s, doubled with each error, at most
/// [`MAX_BACKOFF`]. The backoff of kube's watcher would start again with each list.
fn backoff(errors: u32) -> Duration {
    let first = Duration::from_millis(800).mul_f64(rand::rng().random_range(1.0..1.25));
    (first * (1 << errors.saturating_sub(1).min(6))).min(MAX_BACKOFF)
}
