//! The plain types of the job core: ids, states, errors, events and jobs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use switchyard_contract::{Kind, Lane};
use uuid::Uuid;

/// Id of a job: a UUID of version 7, so that ids sort by creation.
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

/// Id of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

impl std::fmt::Display for TenantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Fencing token of a claim, from a database sequence. Every write of a worker carries it. A worker
/// that was only slow holds an old token, so its writes change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunToken(pub i64);

/// State of a job, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Accepted and not claimed yet. An analysis that shares a pipeline is queued until that
    /// pipeline starts.
    Queued,
    /// Claimed by a worker, which holds a lease.
    Running,
    /// Waiting for its children, and claimable again once all of them have ended; or waiting for
    /// the result of a shared pipeline.
    Waiting,
    /// Failed; the next attempt may start at `run_at`.
    Retrying,
    /// Ended with an output.
    Completed,
    /// Ended with an error: a permanent one, or one in every attempt.
    Dead,
    /// Ended by its tenant, an admin or its parent.
    Cancelled,
}

impl JobState {
    /// Whether the state is final. Only a replay leaves [`JobState::Dead`].
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }

    /// The state as the API shows it: a waiting job is running.
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

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct JobError {
    /// A stable code for programs, for instance `profile-not-found`.
    pub code: String,
    /// A message for people. It never holds a secret.
    pub message: String,
    /// Whether a retry cannot help. The job then dies at once.
    pub permanent: bool,
    /// Seconds before which a retry makes no sense, if the failing service said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl JobError {
    /// An error that a retry may resolve.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), permanent: false, retry_after_seconds: None }
    }

    /// An error that no retry can resolve.
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self { permanent: true, ..Self::transient(code, message) }
    }
}

/// A failed attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    pub attempt: i32,
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub error: JobError,
}

/// The queue that a job is claimed from.
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

/// A change of a job that its watchers see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number within the job, from 1 and without gaps.
    pub seq: i64,
    pub job: JobId,
    /// See [`JobState::public`].
    pub state: String,
    /// Percent, 0 to 100.
    pub progress: i16,
    /// The current step of the work, for instance `images`.
    pub stage: String,
    pub at: DateTime<Utc>,
}

/// What to publish after a change in the store: tickets for workers and events for watchers. Both
/// are hints: the store remains the source of truth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Effects {
    /// The queue of each job that has become claimable.
    pub ready: Vec<Queue>,
    /// Changes of analyses.
    pub events: Vec<Event>,
}

impl Effects {
    /// Whether there is nothing to publish.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.events.is_empty()
    }

    /// Appends the effects of another change.
    pub fn extend(&mut self, other: Self) {
        self.ready.extend(other.ready);
        self.events.extend(other.events);
    }
}

/// Where a job comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The tenant submitted it.
    Api,
    /// An analysis discovered the profile. The job is free of charge and does not count as a
    /// running analysis of the tenant.
    Discovery,
    /// Another job spawned it.
    Child,
}

/// A job as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub tenant: TenantId,
    /// The job that spawned this one.
    pub parent: Option<JobId>,
    pub origin: Origin,
    pub state: JobState,
    pub kind: Kind,
    pub lane: Lane,
    pub username: String,
    /// Number of the current or last attempt; 0 before the first.
    pub attempt: i32,
    /// Percent, 0 to 100.
    pub progress: i16,
    pub stage: String,
    /// Error of the last failed attempt; of a dead job, the error that it died of.
    pub error: Option<JobError>,
    /// When a retrying job may be claimed again.
    pub run_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}
