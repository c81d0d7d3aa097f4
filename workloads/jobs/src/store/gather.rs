//! Calls that come together go together: while one batch is on its way, the next one gathers. Nobody waits when nothing is on its way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::StoreError;

/// A call with the one who waits for its answer.
pub(super) struct Waiting<Q, A> {
    pub request: Q,
    pub answer: oneshot::Sender<Result<A, StoreError>>,
}

struct State<Q, A> {
    waiting: VecDeque<Waiting<Q, A>>,
    /// Batches on their way.
    under_way: usize,
}

/// Gathers calls of one sort. Cheap to clone.
pub(super) struct Gather<Q, A> {
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

impl<Q, A> Clone for Gather<Q, A> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), limits: self.limits }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { state: Arc::new(Mutex::new(State { waiting: VecDeque::new(), under_way: 0 })), limits }
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
            let drive = state.under_way < self.limits.under_way;
            state.under_way += usize::from(drive);
            drive
        };
        if drive {
            tokio::spawn(self.clone().drive(send));
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Interrupted("its batch was given up".to_owned())))
    }

    /// Sends batches until nothing waits.
    async fn drive<S, F>(self, send: S)
    where
        S: Fn(Vec<Waiting<Q, A>>) -> F + Send + 'static,
        F: Future<Output = Vec<Waiting<Q, A>>> + Send + 'static,
    {
        // Whatever happens to a batch, even a panic, another driver may take over.
        let mut place = Place(Some(self.clone()));
        loop {
            let batch: Vec<_> = {
                let mut state = self.state();
                let mut batch = Vec::new();
                while batch.len() < self.limits.batch
                    && let Some(waiting) = state.waiting.pop_front()
                {
                    // Nobody listens to the answer any more.
                    if !waiting.answer.is_closed() {
                        batch.push(waiting);
                    }
                }
                if batch.is_empty() {
                    state.under_way -= 1;
                    place.0 = None;
                    return;
                }
                batch
            };
            let again = send(batch).await;
            if !again.is_empty() {
                let mut state = self.state();
                for waiting in again.into_iter().rev() {
                    state.waiting.push_front(waiting);
                }
            }
        }
    }
}

/// A driver's place, given up if it ends unasked.
struct Place<Q: Send + 'static, A: Send + 'static>(Option<Gather<Q, A>>);

impl<Q: Send + 'static, A: Send + 'static> Drop for Place<Q, A> {
    fn drop(&mut self) {
        if let Some(gather) = self.0.take() {
            gather.state().under_way -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::Semaphore;

    use super::*;

    type Batch = Vec<Waiting<u32, usize>>;

    fn gather(waiting: usize) -> Gather<u32, usize> {
        Gather::new(Limits { batch: 8, under_way: 1, waiting })
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
    async fn a_batch_that_breaks_down_interrupts_its_calls_and_no_others() {
        let gather = gather(100);
        let broken = gather.call(0, |_: Batch| async { panic!("as the test wants") }).await;
        assert!(matches!(broken, Err(StoreError::Interrupted(_))));
        let gate = Arc::new(Semaphore::new(1));
        assert_eq!(gather.call(1, sizes(gate)).await.unwrap(), 1);
    }
}
