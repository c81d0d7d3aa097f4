//! A circuit breaker: what failed several times in a row is left alone for a while, then tried by one caller, and then by more and more.
//!
//! [`Machine`] decides and is given the time; [`Breaker`] is the machine with a clock, to be shared.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// At once while half-open, step by step: each step ends when as many calls in a row as it lets in at once have succeeded.
const STEPS: [u32; 5] = [1, 2, 4, 8, 16];
/// When to ask again where a half-open breaker lets no more in: its probes take about as long.
const PROBING: Duration = Duration::from_secs(1);

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Failures in a row that open it; at least 1.
    pub failures: u32,
    /// How long nothing is let through.
    pub open_for: Duration,
}

impl Policy {
    /// 3 failures, 30 s.
    pub const DATABASE: Self = Self { failures: 3, open_for: Duration::from_secs(30) };
    /// 5 failures, 60 s.
    pub const EXTERNAL: Self = Self { failures: 5, open_for: Duration::from_secs(60) };
    /// 4 failures, 120 s.
    pub const AI: Self = Self { failures: 4, open_for: Duration::from_secs(120) };
}

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Lets all through.
    Closed,
    /// Lets a few through, to see.
    HalfOpen,
    /// Lets none through.
    Open,
}

impl State {
    /// As a gauge: 0 closed, 1 half-open, 2 open.
    pub const fn as_gauge(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// A call that the breaker did not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open; ask again in {} s", retry_after.as_secs().max(1))]
pub struct Open {
    /// When it is worth another try.
    pub retry_after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { step: usize, running: u32, successes: u32 },
}

/// Which stretch between two changes of phase a call belongs to: what it has to tell is news only there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch(u64);

/// The rules, without a clock.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    phase: Phase,
    stretch: u64,
    openings: u64,
}

impl Machine {
    /// A closed one.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, phase: Phase::Closed { failures: 0 }, stretch: 0, openings: 0 }
    }

    /// What it does with calls at `now`.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How long it lets nothing through from `now` on; `None` when it lets something through.
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

    /// Lets a call through, or not. A call that was let through must come back by [`Machine::ended`].
    pub fn admit(&mut self, now: Instant) -> Result<Stretch, Open> {
        match &mut self.phase {
            Phase::Closed { .. } => {}
            Phase::Open { until } if now < *until => return Err(Open { retry_after: *until - now }),
            Phase::Open { .. } => self.enter(Phase::HalfOpen { step: 0, running: 1, successes: 0 }),
            Phase::HalfOpen { step, running, .. } if *running < STEPS[*step] => *running += 1,
            Phase::HalfOpen { .. } => return Err(Open { retry_after: PROBING }),
        }
        Ok(Stretch(self.stretch))
    }

    /// Takes a call back: it succeeded, failed, or was given up before either.
    pub fn ended(&mut self, stretch: Stretch, success: Option<bool>, now: Instant) {
        if stretch.0 != self.stretch {
            return;
        }
        match (&mut self.phase, success) {
            (Phase::Closed { .. }, Some(success)) => self.told(success, now),
            (Phase::HalfOpen { .. }, Some(false)) => self.open(now),
            (Phase::HalfOpen { step, running, successes }, success) => {
                *running = running.saturating_sub(1);
                *successes += u32::from(success.is_some());
                if *successes >= STEPS[*step] {
                    (*step, *successes) = (*step + 1, 0);
                    if *step == STEPS.len() {
                        self.enter(Phase::Closed { failures: 0 });
                    }
                }
            }
            (Phase::Closed { .. } | Phase::Open { .. }, _) => {}
        }
    }

    /// Takes note of a call that did not ask: a success lets an open one be tried at once, a failure counts as long as it is closed.
    pub fn told(&mut self, success: bool, now: Instant) {
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
        self.stretch += 1;
    }
}

/// A breaker to be shared: clones are the same breaker.
#[derive(Clone)]
pub struct Breaker {
    name: &'static str,
    machine: Arc<Mutex<Machine>>,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("name", &self.name).field("state", &self.state()).finish()
    }
}

/// Leave for one call. Dropped without a word, it counts as neither success nor failure.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once guards nothing"]
pub struct Permit {
    breaker: Breaker,
    stretch: Stretch,
    success: Option<bool>,
}

/// Why a guarded call gave no value.
#[derive(Debug, thiserror::Error)]
pub enum Broken<E> {
    /// It was not made.
    #[error(transparent)]
    Open(#[from] Open),
    /// It was made and failed.
    #[error("{0}")]
    Failed(E),
}

impl Breaker {
    /// A closed breaker. `name` says in logs and metrics what it guards.
    pub fn new(name: &'static str, policy: Policy) -> Self {
        Self { name, machine: Arc::new(Mutex::new(Machine::new(policy))) }
    }

    /// What it guards.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it does with calls now.
    pub fn state(&self) -> State {
        self.machine().state(Instant::now())
    }

    /// How long it lets nothing through; `None` when it lets something through. Takes no leave.
    pub fn retry_after(&self) -> Option<Duration> {
        self.machine().retry_after(Instant::now())
    }

    /// How often it has opened since it was made.
    pub fn openings(&self) -> u64 {
        self.machine().openings()
    }

    /// Asks leave for one call.
    pub fn admit(&self) -> Result<Permit, Open> {
        let stretch = self.changing(|machine| machine.admit(Instant::now()))?;
        Ok(Permit { breaker: self.clone(), stretch, success: None })
    }

    /// Makes a call if it may be made. `is_failure` tells errors that show trouble with what is guarded from those that are an answer.
    pub async fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        is_failure: impl FnOnce(&E) -> bool,
    ) -> Result<T, Broken<E>> {
        let permit = self.admit()?;
        let result = call.await;
        match &result {
            Err(error) if is_failure(error) => permit.failed(),
            _ => permit.succeeded(),
        }
        result.map_err(Broken::Failed)
    }

    /// Something else saw what is guarded working: an open breaker lets a probe through at once.
    pub fn heard(&self) {
        self.changing(|machine| machine.told(true, Instant::now()));
    }

    /// A call that did not ask failed; counts towards opening.
    pub fn missed(&self) {
        self.changing(|machine| machine.told(false, Instant::now()));
    }

    fn changing<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let (before, result, after) = {
            let mut machine = self.machine();
            let before = machine.phase;
            (before, change(&mut machine), machine.phase)
        };
        match (before, after) {
            (Phase::Closed { .. } | Phase::HalfOpen { .. }, Phase::Open { .. }) => {
                tracing::warn!(breaker = self.name, "the circuit breaker opens");
            }
            (Phase::Open { .. }, Phase::HalfOpen { .. }) => {
                tracing::info!(breaker = self.name, "the circuit breaker lets a probe through");
            }
            (Phase::HalfOpen { .. }, Phase::Closed { .. }) => {
                tracing::info!(breaker = self.name, "the circuit breaker closes");
            }
            _ => {}
        }
        result
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // The machine is sound between any two statements, so another thread's panic has broken nothing.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The call succeeded, or was answered in a way that speaks for what is guarded.
    pub fn succeeded(mut self) {
        self.success = Some(true);
    }

    /// The call failed in a way that speaks against what is guarded.
    pub fn failed(mut self) {
        self.success = Some(false);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.changing(|machine| machine.ended(self.stretch, self.success, Instant::now()));
    }
}
