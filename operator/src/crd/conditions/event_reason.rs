//! Reasons of Events that report no condition.

/// The reason of an Event about an action of the operator or of a platform. Other Events have the
/// reason of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventReason {
    SecretsGenerated,
    Ready,
    PodReplaced,
    RecoveryGivenUp,
    JobQuarantined,
    WorkerDrained,
    Recovered,
}

impl EventReason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::SecretsGenerated,
        Self::Ready,
        Self::PodReplaced,
        Self::RecoveryGivenUp,
        Self::JobQuarantined,
        Self::WorkerDrained,
        Self::Recovered,
    ];

    /// The value of `reason` in an Event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecretsGenerated => "SecretsGenerated",
            Self::Ready => "Ready",
            Self::PodReplaced => "PodReplaced",
            Self::RecoveryGivenUp => "RecoveryGivenUp",
            Self::JobQuarantined => "JobQuarantined",
            Self::WorkerDrained => "WorkerDrained",
            Self::Recovered => "Recovered",
        }
    }

    /// Whether the Event has type Warning. All others have type Normal.
    pub const fn is_warning(self) -> bool {
        !matches!(self, Self::SecretsGenerated | Self::Ready)
    }

    /// What has happened.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::SecretsGenerated => "The operator generated Secrets with random values. The note names them.",
            Self::Ready => "The condition `Ready` became True, or its reason changed while it was True.",
            Self::PodReplaced => {
                "A pod was not ready for five minutes while others of its workload were, and the operator evicted it."
            }
            Self::RecoveryGivenUp => {
                "The operator replaced three pods of a workload within an hour, and the workload is still not ready."
            }
            Self::JobQuarantined => {
                "Two workers in a row ended while they ran a job. The job is dead with the error `poisonous-job`."
            }
            Self::WorkerDrained => "A worker came near its memory limit, drained and restarted.",
            Self::Recovered => "An API of a newer version reports a recovery that this operator does not know.",
        }
    }

    /// What to do; empty if nothing is to be done.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::SecretsGenerated | Self::Ready | Self::PodReplaced => "",
            Self::RecoveryGivenUp => "Check `kubectl describe pod` and the logs of the pods.",
            Self::JobQuarantined => "Find the cause before you replay the job.",
            Self::WorkerDrained => "Raise the memory limit of the pool if it recurs.",
            Self::Recovered => "Upgrade the operator.",
        }
    }
}
