//! The nouns of the job core.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use switchyard_contract::{Kind, Lane};
use uuid::Uuid;

/// Names a job; version 7, so that ids sort by creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl JobId {
    /// A new id.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

impl std::fmt::Display for TenantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Proof of a claim. Every claim draws a new one from a database sequence, and every write of a worker carries it: a worker that was only
/// slow holds an old token, and its writes match no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunToken(pub i64);

/// Where a job is in its life, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Accepted, never claimed; for whoever shares a pipeline, that pipeline.
    Queued,
    /// Claimed by a worker that holds a lease.
    Running,
    /// Waiting for its children, claimable again when none is left; or for the result of a pipeline that it shares and that has begun.
    Waiting,
    /// Failed, to be tried again at `run_at`.
    Retrying,
    Completed,
    Dead,
    Cancelled,
}

impl JobState {
    /// Whether nothing can happen to the job any more (but for a replay of a dead one).
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }

    /// The state as callers of the API see it: waiting, for children or for the result of a shared pipeline, is a way of running.
    pub const fn public(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running | Self::Waiting => "running",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why an attempt failed. `code` is stable and for programs, `message` is for people and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct JobError {
    /// For instance `profile-not-found`.
    pub code: String,
    pub message: String,
    /// Whether trying again cannot help; such a failure is final at once.
    pub permanent: bool,
    /// The earliest moment at which trying again makes sense, in seconds from now, where the failing side said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl JobError {
    /// A failure that another attempt may mend.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), permanent: false, retry_after_seconds: None }
    }

    /// A failure that no other attempt can mend.
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::transient(code, message) }
    }
}

/// One failed attempt in a job's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    pub attempt: i32,
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub error: JobError,
}

/// Which queue a job's message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Queue {
    pub kind: Kind,
    pub lane: Lane,
}

impl std::fmt::Display for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "switchyard.{}.{}", self.kind, self.lane)
    }
}

/// A change that watchers of a job see. `seq` counts from 1 within the job without gaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub seq: i64,
    pub job: JobId,
    /// As [`JobState::public`].
    pub state: String,
    /// 0 to 100.
    pub progress: i16,
    /// What is being done, for instance `images`.
    pub stage: String,
    pub at: DateTime<Utc>,
}

/// What a change in the store leaves to be told: to workers by tickets, to watchers by events. Both are only hints; the store remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Effects {
    /// A queue for each job that a worker can claim from it now.
    pub ready: Vec<Queue>,
    /// Changes that watchers of an analysis see.
    pub events: Vec<Event>,
}

impl Effects {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.events.is_empty()
    }
}

/// Where a job comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Asked for by the tenant.
    Api,
    /// Found by an analysis: free of charge, no part of the tenant's running count, within its limits.
    Discovery,
    /// A part of another job.
    Child,
}

/// A job as its readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub tenant: TenantId,
    /// The job that this one is a part of.
    pub parent: Option<JobId>,
    pub origin: Origin,
    pub state: JobState,
    pub kind: Kind,
    pub lane: Lane,
    pub username: String,
    /// The attempt that runs, or ran last; 0 before the first.
    pub attempt: i32,
    /// 0 to 100.
    pub progress: i16,
    pub stage: String,
    /// Why the last failed attempt failed; on a dead job, why it died.
    pub error: Option<JobError>,
    /// When a retrying job may be claimed again.
    pub run_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}
