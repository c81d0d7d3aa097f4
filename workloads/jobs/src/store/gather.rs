//! Calls that come together go together: while a batch is on its way, the next one gathers. Nobody waits when nothing is on its way.
//!
//! A second batch goes while the first is on its way when it is worth the trip, that is at half the other's size, so that the database works while this
//! process reads and writes, and the other way round.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::StoreError;

/// What can be gathered.
pub(super) trait Request: Send + 'static {
    /// What two batches on their way must not share, because one would wait for the other.
    type Stake: Hash + Eq + Clone + Send;

    /// This request's; `None` when it shares nothing.
    fn stake(&self) -> Option<Self::Stake>;
}

/// A call with the one who waits for its answer.
pub(super) struct Waiting<Q, A> {
    pub request: Q,
    pub answer: oneshot::Sender<Result<A, StoreError>>,
}

struct State<Q: Request, A> {
    waiting: VecDeque<Waiting<Q, A>>,
    /// Batches on their way.
    under_way: usize,
    /// Calls in the batch that went last.
    last: usize,
    stakes: HashSet<Q::Stake>,
    /// Whether all that waits has a stake in what is on its way, as far as is known.
    blocked: bool,
}

impl<Q: Request, A> State<Q, A> {
    /// Whether another batch should go.
    fn worth_it(&self, limits: Limits) -> bool {
        match self.under_way {
            0 => !self.waiting.is_empty(),
            some => some < limits.under_way && !self.blocked && self.waiting.len() >= (self.last / 2).max(2),
        }
    }

    /// The next batch; its stakes are held from now on.
    fn take(&mut self, limits: Limits) -> Vec<Waiting<Q, A>> {
        let (mut batch, mut left) = (Vec::new(), VecDeque::new());
        while batch.len() < limits.batch
            && let Some(waiting) = self.waiting.pop_front()
        {
            // Nobody listens to the answer any more.
            if waiting.answer.is_closed() {
                continue;
            }
            match waiting.request.stake() {
                Some(stake) if self.stakes.contains(&stake) => left.push_back(waiting),
                _ => batch.push(waiting),
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
        self.blocked = batch.is_empty();
        self.stakes.extend(batch.iter().filter_map(|waiting| waiting.request.stake()));
        batch
    }
}

/// Gathers calls of one sort. Cheap to clone.
pub(super) struct Gather<Q: Request, A> {
    state: Arc<Mutex<State<Q, A>>>,
    limits: Limits,
}

/// How much is gathered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Calls in one batch.
    pub batch: usize,
    /// Batches on their way at once.
    pub under_way: usize,
    /// Calls that may wait; past it there is no use in waiting.
    pub waiting: usize,
}

impl<Q: Request, A> Clone for Gather<Q, A> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), limits: self.limits }
    }
}

impl<Q: Request, A: Send + 'static> Gather<Q, A> {
    pub(super) fn new(limits: Limits) -> Self {
        let state = State { waiting: VecDeque::new(), under_way: 0, last: 0, stakes: HashSet::new(), blocked: false };
        Self { state: Arc::new(Mutex::new(state)), limits }
    }

    fn state(&self) -> MutexGuard<'_, State<Q, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a call over and waits for its answer. `send` answers a whole batch; what it hands back comes first in the next one, and what it
    /// neither answers nor hands back is interrupted. Dropping the future before the batch is on its way takes the call out.
    pub(super) async fn call<S, F>(&self, request: Q, send: S) -> Result<A, StoreError>
    where
        S: Fn(Vec<Waiting<Q, A>>) -> F + Send + 'static,
        F: Future<Output = Vec<Waiting<Q, A>>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let drive = {
            let mut state = self.state();
            if state.waiting.len() >= self.limits.waiting {
                return Err(StoreError::Overloaded);
            }
            state.waiting.push_back(Waiting { request, answer });
            let drive = state.worth_it(self.limits);
            state.under_way += usize::from(drive);
            drive
        };
        if drive {
            tokio::spawn(self.clone().drive(send));
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Interrupted("its batch was given up".to_owned())))
    }

    /// Sends batches until nothing waits, or until what waits is not worth another one beside those on their way.
    async fn drive<S, F>(self, send: S)
    where
        S: Fn(Vec<Waiting<Q, A>>) -> F + Send + 'static,
        F: Future<Output = Vec<Waiting<Q, A>>> + Send + 'static,
    {
        // Whatever happens to a batch, even a panic, another driver may take over.
        let mut place = Place { gather: self.clone(), stakes: Vec::new() };
        loop {
            let batch = {
                let mut state = self.state();
                state.under_way -= 1;
                let batch = if state.worth_it(self.limits) { state.take(self.limits) } else { Vec::new() };
                state.under_way += 1;
                if !batch.is_empty() {
                    state.last = batch.len();
                }
                batch
            };
            if batch.is_empty() {
                return;
            }
            place.stakes = batch.iter().filter_map(|waiting| waiting.request.stake()).collect();
            let again = send(batch).await;
            let mut state = self.state();
            place.give_up_stakes(&mut state);
            for waiting in again.into_iter().rev() {
                state.waiting.push_front(waiting);
            }
        }
    }
}

/// A driver's place among the others, with the stakes of its batch; given up when it ends, however it does.
struct Place<Q: Request, A: Send + 'static> {
    gather: Gather<Q, A>,
    stakes: Vec<Q::Stake>,
}

impl<Q: Request, A: Send + 'static> Place<Q, A> {
    fn give_up_stakes(&mut self, state: &mut State<Q, A>) {
        for stake in self.stakes.drain(..) {
            state.stakes.remove(&stake);
        }
        state.blocked = false;
    }
}

impl<Q: Request, A: Send + 'static> Drop for Place<Q, A> {
    fn drop(&mut self) {
        let gather = self.gather.clone();
        let mut state = gather.state();
        self.give_up_stakes(&mut state);
        state.under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::Semaphore;

    use super::*;

    type Batch = Vec<Waiting<u32, usize>>;

    /// Even numbers below a hundred have a stake.
    impl Request for u32 {
        type Stake = u32;

        fn stake(&self) -> Option<u32> {
            (*self < 100 && self.is_multiple_of(2)).then_some(*self)
        }
    }

    fn gather(waiting: usize) -> Gather<u32, usize> {
        gather_with(waiting, 1)
    }

    fn gather_with(waiting: usize, under_way: usize) -> Gather<u32, usize> {
        Gather::new(Limits { batch: 8, under_way, waiting })
    }

    /// Answers each call with the size of its batch, when the gate lets it.
    fn sizes(gate: Arc<Semaphore>) -> impl Fn(Batch) -> std::pin::Pin<Box<dyn Future<Output = Batch> + Send>> + Clone {
        move |batch: Batch| {
            let gate = gate.clone();
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                let size = batch.len();
                for waiting in batch {
                    let _ = waiting.answer.send(Ok(size));
                }
                Vec::new()
            })
        }
    }

    #[tokio::test]
    async fn calls_that_come_while_one_is_on_its_way_go_together_and_no_batch_is_too_large() {
        let (gather, gate) = (gather(100), Arc::new(Semaphore::new(0)));
        let call = |n| {
            let (gather, send) = (gather.clone(), sizes(gate.clone()));
            tokio::spawn(async move { gather.call(n, send).await.unwrap() })
        };
        let mut calls = vec![call(0)];
        while gather.state().under_way == 0 || !gather.state().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        calls.extend((1..12).map(call));
        while gather.state().waiting.len() < 11 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(3);
        let mut sizes = Vec::new();
        for call in calls {
            sizes.push(call.await.unwrap());
        }
        assert_eq!(sizes, [[1].as_slice(), &[8; 8], &[3; 3]].concat());
        assert_eq!(gather.state().under_way, 0);
    }

    #[tokio::test]
    async fn past_its_limit_nothing_more_waits_and_who_went_away_is_left_out() {
        let (gather, gate) = (gather(2), Arc::new(Semaphore::new(0)));
        let first = tokio::spawn({
            let (gather, send) = (gather.clone(), sizes(gate.clone()));
            async move { gather.call(0, send).await }
        });
        while gather.state().under_way == 0 || !gather.state().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let impatient = tokio::time::timeout(Duration::from_millis(1), gather.call(1, sizes(gate.clone()))).await;
        assert!(impatient.is_err());
        let patient = tokio::spawn({
            let (gather, send) = (gather.clone(), sizes(gate.clone()));
            async move { gather.call(2, send).await }
        });
        while gather.state().waiting.len() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(gather.call(3, sizes(gate.clone())).await, Err(StoreError::Overloaded)));
        gate.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(patient.await.unwrap().unwrap(), 1, "the impatient one is not in its batch");
    }

    #[tokio::test]
    async fn a_second_batch_goes_when_it_is_worth_the_trip_and_shares_no_stake_with_the_first() {
        let (gather, gate) = (gather_with(100, 2), Arc::new(Semaphore::new(0)));
        let call = |n| {
            let (gather, send) = (gather.clone(), sizes(gate.clone()));
            tokio::spawn(async move { gather.call(n, send).await.unwrap() })
        };
        let waiting = |n| {
            let gather = gather.clone();
            async move {
                while gather.state().waiting.len() != n || gather.state().under_way == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let first = call(2);
        waiting(0).await;
        let (same, alone) = (call(2), call(101));
        // Two are worth a trip, but one of them has to stay.
        waiting(1).await;
        assert_eq!(gather.state().under_way, 2);
        gate.add_permits(1);
        assert_eq!(first.await.unwrap(), 1);
        gate.add_permits(1);
        assert_eq!(alone.await.unwrap(), 1);
        gate.add_permits(1);
        assert_eq!(same.await.unwrap(), 1);
        while gather.state().under_way != 0 {
            tokio::task::yield_now().await;
        }
        assert!(gather.state().stakes.is_empty());
    }

    #[tokio::test]
    async fn a_batch_that_breaks_down_interrupts_its_calls_and_no_others() {
        let gather = gather(100);
        let broken = gather.call(0, |_: Batch| async { panic!("as the test wants") }).await;
        assert!(matches!(broken, Err(StoreError::Interrupted(_))));
        let gate = Arc::new(Semaphore::new(1));
        assert_eq!(gather.call(1, sizes(gate)).await.unwrap(), 1);
    }
}
