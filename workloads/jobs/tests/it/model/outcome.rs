//! Outcomes of operations, comparable between the reference and the database.

use std::collections::BTreeSet;

use switchyard_jobs::{
    model::{Effects, Event, JobId},
    store::{Claim, FailOutcome},
};

use super::job::Number;

/// An event for watchers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EmittedEvent {
    pub job: Number,
    pub seq: i64,
    pub state: String,
    pub progress: i16,
}

/// Outcome of an operation, in terms that the reference and the database share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The token is stale.
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
    /// In turn order: job, attempt and, for a join, which of its children completed.
    Claimed(Vec<(Number, i32, Option<Vec<bool>>)>),
    Held(BTreeSet<Number>),
    Reaped(Vec<Outcome>),
    /// Queues with their numbers of claimable jobs.
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

/// Outcome of the database, before its ids are translated to numbers.
pub enum Actual {
    Plain(Outcome),
    Accepted { job: JobId, balance: i64, coalesced: bool },
    Replayed { job: JobId, balance: i64 },
    Claimed(Vec<Claim>),
    Held(Vec<JobId>),
}

/// The outcomes of one operation.
pub struct Applied {
    pub expected: Outcome,
    pub actual: Actual,
    /// Events that the operation returned; `None` if it returns no events.
    pub events: Option<Vec<Event>>,
}

impl Applied {
    /// An answer without ids.
    pub fn plain(expected: Outcome, actual: Outcome, events: Option<Vec<Event>>) -> Self {
        Self { expected, actual: Actual::Plain(actual), events }
    }

    /// An operation without an answer.
    pub fn done() -> Self {
        Self::plain(Outcome::Done, Outcome::Done, None)
    }

    /// An answer of effects; `None` stands for a stale token.
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

/// Events of a failed attempt.
pub fn events_of(actual: &FailOutcome) -> Vec<Event> {
    match actual {
        FailOutcome::Stale => Vec::new(),
        FailOutcome::Retrying { effects, .. } | FailOutcome::Dead { effects } => effects.events.clone(),
    }
}
