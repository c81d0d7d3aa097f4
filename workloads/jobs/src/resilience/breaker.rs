//! A circuit breaker: after several failures in a row it rejects calls for a while, then lets
//! probes through, first one at a time, then more and more.
//!
//! [`Machine`] is the state machine without a clock; [`Breaker`] adds the clock and can be shared.
//! Source: M. Nygard, *Release It!*, chapter "Stability Patterns", and
//! <https://martinfowler.com/bliki/CircuitBreaker.html>. The stepwise half-open phase is an
//! addition.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Concurrent probes of each half-open step. A step ends after as many successes in a row.
const HALF_OPEN_STEPS: [u32; 5] = [1, 2, 4, 8, 16];
/// `retry_after` while a half-open breaker is full: about the time that its probes take.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Consecutive failures that open the breaker; at least 1.
    pub failures: u32,
    /// How long an open breaker rejects all calls.
    pub open_for: Duration,
}

impl Policy {
    /// 3 failures, 30 s.
    pub const DATABASE: Self = Self { failures: 3, open_for: Duration::from_secs(30) };
    /// 5 failures, 60 s.
    pub const EXTERNAL: Self = Self { failures: 5, open_for: Duration::from_mins(1) };
    /// 4 failures, 120 s.
    pub const AI: Self = Self { failures: 4, open_for: Duration::from_mins(2) };
}

/// State of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Lets all calls through.
    Closed,
    /// Lets a few probes through.
    HalfOpen,
    /// Rejects all calls.
    Open,
}

impl State {
    /// Value of the state's gauge: 0 closed, 1 half-open, 2 open.
    pub const fn as_gauge(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The breaker rejected a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open; retry in {} s", retry_after.as_secs().max(1))]
pub struct Open {
    /// Time until a retry may be let through.
    pub retry_after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { step: usize, running: u32, successes: u32 },
}

/// The period between two state changes in which a call was admitted. Its outcome counts only
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(u64);

/// The state machine of a breaker, without a clock.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    phase: Phase,
    epoch: u64,
    openings: u64,
}

impl Machine {
    /// Creates a closed machine.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, phase: Phase::Closed { failures: 0 }, epoch: 0, openings: 0 }
    }

    /// The state at `now`.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How long it still rejects all calls at `now`; `None` if it does not.
    pub fn retry_after(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } if now < until => Some(until - now),
            _ => None,
        }
    }

    /// How often it has opened.
    pub const fn openings(&self) -> u64 {
        self.openings
    }

    /// Admits a call. The caller reports its end with [`Machine::finish`].
    ///
    /// # Errors
    /// [`Open`] if the call is rejected.
    pub fn admit(&mut self, now: Instant) -> Result<Epoch, Open> {
        match &mut self.phase {
            Phase::Closed { .. } => {}
            Phase::Open { until } if now < *until => return Err(Open { retry_after: *until - now }),
            Phase::Open { .. } => self.enter(Phase::HalfOpen { step: 0, running: 1, successes: 0 }),
            Phase::HalfOpen { step, running, .. } if *running < HALF_OPEN_STEPS[*step] => *running += 1,
            Phase::HalfOpen { .. } => return Err(Open { retry_after: PROBE_TIME }),
        }
        Ok(Epoch(self.epoch))
    }

    /// Ends an admitted call: `success` is `None` if it was abandoned.
    pub fn finish(&mut self, epoch: Epoch, success: Option<bool>, now: Instant) {
        if epoch.0 != self.epoch {
            return;
        }
        match (&mut self.phase, success) {
            (Phase::Closed { .. }, Some(success)) => self.record(success, now),
            (Phase::HalfOpen { .. }, Some(false)) => self.open(now),
            (Phase::HalfOpen { step, running, successes }, success) => {
                *running = running.saturating_sub(1);
                *successes += u32::from(success.is_some());
                if *successes >= HALF_OPEN_STEPS[*step] {
                    (*step, *successes) = (*step + 1, 0);
                    if *step == HALF_OPEN_STEPS.len() {
                        self.enter(Phase::Closed { failures: 0 });
                    }
                }
            }
            (Phase::Closed { .. } | Phase::Open { .. }, _) => {}
        }
    }

    /// Records the outcome of a call that was not admitted here.
    ///
    /// A success makes an open breaker half-open at once. A failure counts while the breaker is
    /// closed.
    pub fn record(&mut self, success: bool, now: Instant) {
        match (&mut self.phase, success) {
            (Phase::Closed { failures }, true) => *failures = 0,
            (Phase::Closed { failures }, false) => {
                *failures += 1;
                if *failures >= self.policy.failures {
                    self.open(now);
                }
            }
            (Phase::Open { .. }, true) => self.enter(Phase::HalfOpen { step: 0, running: 0, successes: 0 }),
            (Phase::Open { .. }, false) | (Phase::HalfOpen { .. }, _) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        self.openings += 1;
        self.enter(Phase::Open { until: now + self.policy.open_for });
    }

    const fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

/// A circuit breaker. Clones share its state.
#[derive(Clone)]
pub struct Breaker {
    name: &'static str,
    machine: Arc<Mutex<Machine>>,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("name", &self.name).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Permission for one call. Dropped without an outcome, it counts as neither success nor failure.
#[derive(Debug)]
#[must_use = "a dropped permit guards nothing"]
pub struct Permit {
    breaker: Breaker,
    epoch: Epoch,
    success: Option<bool>,
}

/// Why [`Breaker::call`] returned no value.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    /// The breaker rejected the call.
    #[error(transparent)]
    Open(#[from] Open),
    /// The call was made and failed.
    #[error("{0}")]
    Failed(E),
}

impl Breaker {
    /// Creates a closed breaker. `name` is its label in logs and metrics.
    pub fn new(name: &'static str, policy: Policy) -> Self {
        Self { name, machine: Arc::new(Mutex::new(Machine::new(policy))) }
    }

    /// The label in logs and metrics.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.machine.lock().state(Instant::now())
    }

    /// How long it still rejects all calls; `None` if it does not. Takes no permit.
    pub fn retry_after(&self) -> Option<Duration> {
        self.machine.lock().retry_after(Instant::now())
    }

    /// How often it has opened since its creation.
    pub fn openings(&self) -> u64 {
        self.machine.lock().openings()
    }

    /// Takes a permit for one call.
    ///
    /// # Errors
    /// [`Open`] if the breaker rejects calls now.
    pub fn admit(&self) -> Result<Permit, Open> {
        let epoch = self.update(|machine| machine.admit(Instant::now()))?;
        Ok(Permit { breaker: self.clone(), epoch, success: None })
    }

    /// Makes a call if the breaker admits it.
    ///
    /// `is_failure` separates errors of the guarded service from errors that are a valid answer.
    ///
    /// # Errors
    /// [`CallError::Open`] if the call was rejected, [`CallError::Failed`] with the error of the call.
    pub async fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        is_failure: impl FnOnce(&E) -> bool,
    ) -> Result<T, CallError<E>> {
        let permit = self.admit()?;
        let result = call.await;
        match &result {
            Err(error) if is_failure(error) => permit.failed(),
            _ => permit.succeeded(),
        }
        result.map_err(CallError::Failed)
    }

    /// Records that the guarded service works: an open breaker lets a probe through at once.
    pub fn record_success(&self) {
        self.update(|machine| machine.record(true, Instant::now()));
    }

    /// Records the failure of a call made without a permit; it counts towards opening.
    pub fn record_failure(&self) {
        self.update(|machine| machine.record(false, Instant::now()));
    }

    fn update<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let (before, result, after) = {
            let mut machine = self.machine.lock();
            let before = machine.phase;
            (before, change(&mut machine), machine.phase)
        };
        match (before, after) {
            (Phase::Closed { .. } | Phase::HalfOpen { .. }, Phase::Open { .. }) => {
                tracing::warn!(breaker = self.name, "circuit breaker opened");
            }
            (Phase::Open { .. }, Phase::HalfOpen { .. }) => {
                tracing::info!(breaker = self.name, "circuit breaker half-open");
            }
            (Phase::HalfOpen { .. }, Phase::Closed { .. }) => {
                tracing::info!(breaker = self.name, "circuit breaker closed");
            }
            _ => {}
        }
        result
    }
}

impl Permit {
    /// Reports that the guarded service answered.
    pub fn succeeded(mut self) {
        self.success = Some(true);
    }

    /// Reports that the guarded service failed.
    pub fn failed(mut self) {
        self.success = Some(false);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.update(|machine| machine.finish(self.epoch, self.success, Instant::now()));
    }
}
