//! Merges concurrent calls into batches, so that many calls share one round trip.
//!
//! An actor owns the queue. A call is sent at once when no batch is in flight; otherwise it waits
//! for the next batch. A second batch is sent only when it holds at least two calls and at least
//! half as many as the last one. So the database works on one batch while this process encodes or
//! decodes the other.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, JoinSet},
};

use super::error::StoreError;
use crate::trace;

/// A call's argument.
pub(super) trait Request: Send + 'static {
    /// Identifies what two batches in flight must not share, because one would wait for the other.
    type ConflictKey: Hash + Eq + Clone + Send;

    /// The key of this request; `None` if it conflicts with no other request.
    fn conflict_key(&self) -> Option<Self::ConflictKey>;
}

/// A call that waits for its answer.
pub(super) struct PendingCall<Q, A> {
    pub request: Q,
    /// The caller's position in its trace.
    pub trace: Option<trace::Context>,
    /// Batches that the call has been part of, this one included.
    pub attempts: u32,
    answer: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q, A> PendingCall<Q, A> {
    /// Answers the caller. Nothing happens if it has stopped waiting.
    pub(super) fn answer(self, result: Result<A, StoreError>) {
        let _ = self.answer.send(result);
    }
}

/// Bounds of a [`Batcher`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Calls in one batch.
    pub max_batch: usize,
    /// Batches in flight at once.
    pub max_in_flight: usize,
    /// Calls that may wait for their batch; further ones are refused.
    pub max_pending: usize,
}

/// Calls in one batch.
pub(super) type Batch<Q, A> = Vec<PendingCall<Q, A>>;

type SendBatch<Q, A> = dyn Fn(Batch<Q, A>) -> BoxFuture<'static, Batch<Q, A>> + Send + Sync;

/// Batches calls of one kind. Cheap to clone: clones share the actor, which ends with the last one.
pub(super) struct Batcher<Q, A>(Arc<Shared<Q, A>>);

struct Shared<Q, A> {
    limits: Limits,
    send: Arc<SendBatch<Q, A>>,
    /// Started by the first call, because a store may be created outside of a runtime, and again if
    /// the runtime that it ran on is gone.
    actor: Mutex<Option<Handle<Q, A>>>,
}

/// The way to a running actor.
struct Handle<Q, A> {
    calls: mpsc::UnboundedSender<PendingCall<Q, A>>,
    /// Calls that wait for their batch, in the channel and in the actor's queue.
    pending: Arc<AtomicUsize>,
}

impl<Q, A> Clone for Handle<Q, A> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone(), pending: self.pending.clone() }
    }
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q: Request, A: Send + 'static> Batcher<Q, A> {
    /// A batcher that answers batches with `send`. `send` returns the calls that must be tried
    /// again; they come first in the next batch. Calls that it drops unanswered are interrupted.
    ///
    /// `send` must not own a clone of the batcher: the actor would never end.
    pub(super) fn new<F>(limits: Limits, send: impl Fn(Batch<Q, A>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Batch<Q, A>> + Send + 'static,
    {
        let send: Arc<SendBatch<Q, A>> = Arc::new(move |batch| send(batch).boxed());
        Self(Arc::new(Shared { limits, send, actor: Mutex::default() }))
    }

    /// Queues a call and waits for its answer. Needs a running tokio runtime. Dropping the future
    /// withdraws the call, unless its batch has been sent.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if `max_pending` calls wait already, [`StoreError::Interrupted`]
    /// if the call's batch panicked, and whatever the batch answers.
    pub(super) async fn call(&self, request: Q) -> Result<A, StoreError> {
        let Handle { calls, pending } = self.actor();
        if pending.fetch_add(1, Ordering::AcqRel) >= self.0.limits.max_pending {
            pending.fetch_sub(1, Ordering::AcqRel);
            return Err(StoreError::Overloaded);
        }
        let (answer, answered) = oneshot::channel();
        // An error drops the call, as an actor that has just ended would.
        let _ = calls.send(PendingCall { request, trace: trace::current(), attempts: 0, answer });
        drop(calls);
        answered.await.unwrap_or_else(|_| Err(StoreError::Interrupted("its batch was dropped".to_owned())))
    }

    /// The running actor.
    fn actor(&self) -> Handle<Q, A> {
        let mut actor = self.0.actor.lock();
        match &*actor {
            Some(handle) if !handle.calls.is_closed() => handle.clone(),
            _ => actor.insert(self.start()).clone(),
        }
    }

    fn start(&self) -> Handle<Q, A> {
        let (calls, receiver) = mpsc::unbounded_channel();
        let pending = Arc::<AtomicUsize>::default();
        let actor = Actor {
            limits: self.0.limits,
            send: self.0.send.clone(),
            pending: pending.clone(),
            queue: VecDeque::new(),
            in_flight: JoinSet::new(),
            conflict_keys: HashSet::new(),
            last_batch: 0,
            blocked: false,
        };
        tokio::spawn(actor.run(receiver));
        Handle { calls, pending }
    }

    #[cfg(test)]
    fn pending(&self) -> usize {
        self.actor().pending.load(Ordering::Acquire)
    }
}

/// Owns the queue and the batches in flight.
struct Actor<Q: Request, A> {
    limits: Limits,
    send: Arc<SendBatch<Q, A>>,
    pending: Arc<AtomicUsize>,
    queue: VecDeque<PendingCall<Q, A>>,
    in_flight: JoinSet<Finished<Q, A>>,
    /// Keys of the batches in flight.
    conflict_keys: HashSet<Q::ConflictKey>,
    /// Calls in the batch that was sent last.
    last_batch: usize,
    /// Whether every queued call conflicts with a batch in flight, as far as is known.
    blocked: bool,
}

/// A batch that is no longer in flight.
struct Finished<Q: Request, A> {
    conflict_keys: Vec<Q::ConflictKey>,
    /// Calls to try again.
    returned: Batch<Q, A>,
}

impl<Q: Request, A: Send + 'static> Actor<Q, A> {
    /// Runs until all senders are gone and the last batch has finished.
    async fn run(mut self, mut calls: mpsc::UnboundedReceiver<PendingCall<Q, A>>) {
        let mut received = Vec::new();
        let mut open = true;
        loop {
            // At the limit calls stay in the channel: a wake-up for each of them would be in vain.
            let has_room = self.in_flight.len() < self.limits.max_in_flight;
            tokio::select! {
                biased;
                Some(finished) = self.in_flight.join_next() => {
                    self.finish(finished);
                    // Calls that arrived meanwhile share the batch of the returned ones.
                    while let Ok(call) = calls.try_recv() {
                        self.queue.push_back(call);
                    }
                }
                count = calls.recv_many(&mut received, self.limits.max_batch), if open && has_room => {
                    open = count > 0;
                    self.queue.extend(received.drain(..));
                }
                else => return,
            }
            while self.is_worthwhile() {
                let batch = self.next_batch();
                if batch.is_empty() {
                    break;
                }
                self.send(batch);
            }
        }
    }

    /// Whether another batch should be sent now.
    fn is_worthwhile(&self) -> bool {
        match self.in_flight.len() {
            0 => !self.queue.is_empty(),
            some => {
                some < self.limits.max_in_flight && !self.blocked && self.queue.len() >= (self.last_batch / 2).max(2)
            }
        }
    }

    /// Takes the next batch out of the queue: the first calls without a conflict.
    fn next_batch(&mut self) -> Batch<Q, A> {
        let (mut batch, mut conflicting) = (Vec::new(), Vec::new());
        let queued = self.queue.len();
        while batch.len() < self.limits.max_batch
            && let Some(mut call) = self.queue.pop_front()
        {
            if call.answer.is_closed() {
                continue;
            }
            match call.request.conflict_key() {
                Some(key) if self.conflict_keys.contains(&key) => conflicting.push(call),
                _ => {
                    call.attempts += 1;
                    batch.push(call);
                }
            }
        }
        for call in conflicting.into_iter().rev() {
            self.queue.push_front(call);
        }
        self.pending.fetch_sub(queued - self.queue.len(), Ordering::AcqRel);
        self.blocked = batch.is_empty();
        batch
    }

    fn send(&mut self, batch: Batch<Q, A>) {
        self.last_batch = batch.len();
        let conflict_keys: Vec<_> = batch.iter().filter_map(|call| call.request.conflict_key()).collect();
        self.conflict_keys.extend(conflict_keys.iter().cloned());
        let send = self.send.clone();
        self.in_flight.spawn(async move {
            // A panic drops the calls of this batch, which interrupts them and no others.
            let returned = AssertUnwindSafe(async move { send(batch).await }).catch_unwind().await;
            Finished { conflict_keys, returned: returned.unwrap_or_default() }
        });
    }

    fn finish(&mut self, finished: Result<Finished<Q, A>, JoinError>) {
        // Panics are caught above; what remains is the end of the runtime.
        let Ok(Finished { conflict_keys, returned }) = finished else { return };
        for key in conflict_keys {
            self.conflict_keys.remove(&key);
        }
        self.blocked = false;
        self.pending.fetch_add(returned.len(), Ordering::AcqRel);
        for call in returned.into_iter().rev() {
            self.queue.push_front(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::{sync::Semaphore, task::yield_now, time::timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Even numbers below a hundred have a conflict key.
    impl Request for u32 {
        type ConflictKey = u32;

        fn conflict_key(&self) -> Option<u32> {
            (*self < 100 && self.is_multiple_of(2)).then_some(*self)
        }
    }

    /// A batcher whose batches wait for a permit and answer each call with the size of its batch.
    #[derive(Clone)]
    struct Gated {
        batcher: Batcher<u32, usize>,
        gate: Arc<Semaphore>,
        in_flight: Arc<AtomicUsize>,
    }

    impl Gated {
        fn new(max_pending: usize, max_in_flight: usize) -> Self {
            let (gate, in_flight) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
            let send = {
                let (gate, in_flight) = (gate.clone(), in_flight.clone());
                move |batch: Batch<u32, usize>| {
                    let (gate, in_flight) = (gate.clone(), in_flight.clone());
                    async move {
                        in_flight.fetch_add(1, Ordering::SeqCst);
                        gate.acquire().await.unwrap().forget();
                        let size = batch.len();
                        in_flight.fetch_sub(1, Ordering::SeqCst);
                        for call in batch {
                            call.answer(Ok(size));
                        }
                        Vec::new()
                    }
                }
            };
            let limits = Limits { max_batch: 8, max_in_flight, max_pending };
            Self { batcher: Batcher::new(limits, send), gate, in_flight }
        }

        fn call(&self, request: u32) -> tokio::task::JoinHandle<Result<usize, StoreError>> {
            let batcher = self.batcher.clone();
            tokio::spawn(async move { batcher.call(request).await })
        }

        fn in_flight(&self) -> usize {
            self.in_flight.load(Ordering::SeqCst)
        }

        /// Waits until so many calls are pending and so many batches in flight.
        async fn until(&self, pending: usize, in_flight: usize) {
            let reached = async {
                while self.batcher.pending() != pending || self.in_flight() != in_flight {
                    yield_now().await;
                }
            };
            let reached = timeout(SOON, reached).await;
            assert!(reached.is_ok(), "{} pending, {} in flight", self.batcher.pending(), self.in_flight());
        }
    }

    #[tokio::test]
    async fn calls_made_while_a_batch_is_in_flight_share_the_next_one_up_to_its_limit() {
        let gated = Gated::new(100, 1);
        let mut calls = vec![gated.call(0)];
        gated.until(0, 1).await;
        calls.extend((1..12).map(|request| gated.call(request)));
        gated.until(11, 1).await;
        gated.gate.add_permits(3);
        let mut sizes = Vec::new();
        for call in calls {
            sizes.push(call.await.unwrap().unwrap());
        }
        assert_eq!(sizes, [[1].as_slice(), &[8; 8], &[3; 3]].concat());
        assert_eq!((gated.in_flight(), gated.batcher.pending()), (0, 0));
    }

    #[tokio::test]
    async fn calls_past_the_limit_are_refused_and_dropped_ones_are_left_out() {
        let gated = Gated::new(2, 1);
        let first = gated.call(0);
        gated.until(0, 1).await;
        let impatient = timeout(Duration::from_millis(1), gated.batcher.call(1)).await;
        assert!(impatient.is_err());
        let patient = gated.call(2);
        gated.until(2, 1).await;
        assert!(matches!(gated.batcher.call(3).await, Err(StoreError::Overloaded)));
        gated.gate.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(patient.await.unwrap().unwrap(), 1, "the dropped call is not in its batch");
    }

    #[tokio::test]
    async fn a_second_batch_is_sent_when_worthwhile_and_shares_no_conflict_key() {
        let gated = Gated::new(100, 2);
        let first = gated.call(2);
        gated.until(0, 1).await;
        let (same, alone) = (gated.call(2), gated.call(101));
        // Two calls are worth a batch, but one of them conflicts with the first batch.
        gated.until(1, 2).await;
        gated.gate.add_permits(1);
        assert_eq!(first.await.unwrap().unwrap(), 1);
        gated.gate.add_permits(1);
        assert_eq!(alone.await.unwrap().unwrap(), 1);
        gated.gate.add_permits(1);
        assert_eq!(same.await.unwrap().unwrap(), 1);
        gated.until(0, 0).await;
        // No key is left behind.
        gated.gate.add_permits(1);
        assert_eq!(timeout(SOON, gated.batcher.call(2)).await.expect("no conflict").unwrap(), 1);
    }

    #[tokio::test]
    async fn a_batch_that_panics_interrupts_its_own_calls_only() {
        let limits = Limits { max_batch: 8, max_in_flight: 1, max_pending: 100 };
        let batcher = Batcher::<u32, usize>::new(limits, |batch| async move {
            assert!(batch.iter().all(|call| call.request != 0), "as the test wants");
            for call in batch {
                call.answer(Ok(1));
            }
            Vec::new()
        });
        assert!(matches!(batcher.call(0).await, Err(StoreError::Interrupted(_))));
        assert_eq!(batcher.call(1).await.unwrap(), 1);
        assert_eq!(timeout(SOON, batcher.call(2)).await.expect("no key is left behind").unwrap(), 1);
    }

    #[tokio::test]
    async fn a_returned_call_comes_first_in_the_next_batch() {
        let limits = Limits { max_batch: 2, max_in_flight: 1, max_pending: 100 };
        let batcher = Batcher::<u32, usize>::new(limits, |batch| async move {
            yield_now().await;
            let mut returned = Vec::new();
            for (position, call) in batch.into_iter().enumerate() {
                if call.request == 1 && call.attempts < 3 {
                    returned.push(call);
                } else {
                    let attempts = call.attempts as usize;
                    call.answer(Ok(position * 10 + attempts));
                }
            }
            returned
        });
        let calls = [1, 3, 5].map(|request| batcher.call(request));
        let answers = futures::future::join_all(calls).await;
        let answers: Vec<usize> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers[0], 3, "first in its third batch");
        assert_eq!(batcher.pending(), 0);
    }

    #[tokio::test]
    async fn the_actor_ends_with_the_last_batcher() {
        let sent = Arc::new(());
        let batcher = {
            let sent = sent.clone();
            let limits = Limits { max_batch: 8, max_in_flight: 1, max_pending: 100 };
            Batcher::<u32, usize>::new(limits, move |batch| {
                let sent = sent.clone();
                async move {
                    for call in batch {
                        call.answer(Ok(Arc::strong_count(&sent)));
                    }
                    Vec::new()
                }
            })
        };
        batcher.call(1).await.unwrap();
        drop(batcher);
        let ended = async {
            while Arc::strong_count(&sent) > 1 {
                yield_now().await;
            }
        };
        timeout(SOON, ended).await.expect("the actor has ended");
    }
}
