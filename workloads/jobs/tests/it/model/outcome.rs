use std::collections::BTreeSet;

use switchyard_jobs::{
    model::{Effects, Event, JobId},
    store::{Claim, FailOutcome},
};

use super::reference::Number;

/// A change that watchers are events of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EmittedEvent {
    pub job: Number,
    pub seq: i64,
    pub state: String,
    pub progress: i16,
}

/// What an operation comes to, in words that hold for the reference and the real thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The token is of no use any more.
    Stale,
    Refused(&'static str),
    Accepted {
        job: Number,
        balance: i64,
        coalesced: bool,
    },
    Replayed {
        job: Number,
        balance: i64,
    },
    InsufficientCredits {
        balance: i64,
        price: i64,
    },
    /// In turn; each with its attempt and, where it joins, which of its children completed.
    Claimed(Vec<(Number, i32, Option<Vec<bool>>)>),
    Held(BTreeSet<Number>),
    Reaped(Vec<Outcome>),
    /// Queues with jobs to be claimed, and how many.
    Claimable(BTreeSet<(String, u32)>),
    Retrying,
    Dead,
    NotFound,
    AlreadyEnded,
    Cancelled {
        refunded: i64,
        balance: i64,
    },
    NotDead,
    Started {
        charged: i64,
        balance: i64,
    },
    Answer(bool),
    Granted(Result<i64, i64>),
}

/// What the real thing actual, before its ids have numbers.
pub enum Actual {
    Plain(Outcome),
    Accepted { job: JobId, balance: i64, coalesced: bool },
    Replayed { job: JobId, balance: i64 },
    Claimed(Vec<Claim>),
    Held(Vec<JobId>),
}

/// One operation, done to both.
pub struct Applied {
    pub expected: Outcome,
    pub actual: Actual,
    /// What watchers are to be events, where the operation says so.
    pub events: Option<Vec<Event>>,
}

impl Applied {
    /// An answer that names nothing.
    pub fn plain(expected: Outcome, actual: Outcome, events: Option<Vec<Event>>) -> Self {
        Self { expected, actual: Actual::Plain(actual), events }
    }

    /// Something to which there is no answer.
    pub fn done() -> Self {
        Self::plain(Outcome::Done, Outcome::Done, None)
    }

    /// An answer by effects, or none with a stale token.
    pub fn effects(expected: Outcome, effects: Option<Effects>) -> Self {
        let actual = if effects.is_some() { Outcome::Done } else { Outcome::Stale };
        Self::plain(expected, actual, Some(effects.unwrap_or_default().events))
    }
}

impl From<FailOutcome> for Outcome {
    fn from(actual: FailOutcome) -> Self {
        match actual {
            FailOutcome::Stale => Self::Stale,
            FailOutcome::Retrying { .. } => Self::Retrying,
            FailOutcome::Dead { .. } => Self::Dead,
        }
    }
}

/// What watchers are to be events of a failure.
pub fn events_of(actual: &FailOutcome) -> Vec<Event> {
    match actual {
        FailOutcome::Stale => Vec::new(),
        FailOutcome::Retrying { effects, .. } | FailOutcome::Dead { effects } => effects.events.clone(),
    }
}
