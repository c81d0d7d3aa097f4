//! Errors of the profile source.

use std::time::Duration;

use switchyard_jobs::model::JobError;

/// Why a profile could not be fetched. Messages never contain the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error(
        "the profile source refuses the token: put a valid one into the Secret that profileSource.secretRef names ({0})"
    )]
    Token(String),
    #[error("the profile source's account cannot pay for the run: top it up or raise its limit ({0})")]
    Payment(String),
    #[error(
        "the profile source has no actor '{actor}' that this token may run: correct profileSource.actor, or profileSource.endpoint"
    )]
    Actor { actor: String },
    #[error("the profile source limits the rate of calls")]
    RateLimited { retry_after: Option<Duration> },
    #[error(
        "the profile source's account has reached its limit of concurrent runs: lower the lanes' maxRunning or raise the account's limit ({0})"
    )]
    Crowded(String),
    #[error(
        "the tenant or the platform has reached its rate limit for the profile source, and the attempt has no time to wait"
    )]
    Throttled { retry_after: Duration },
    #[error("the profile source has failed several times in a row: its circuit breaker is open")]
    Resting { retry_after: Duration },
    #[error("the profile source is unavailable: {0}")]
    Unavailable(String),
    #[error("the scraper's run ended as {status}: {message}")]
    RunEnded { status: String, message: String },
    #[error("the scraper's run did not end within the {} s of this attempt", .0.as_secs())]
    OutOfTime(Duration),
    #[error("the profile source refuses the request: {0}")]
    Rejected(String),
    #[error("there is no profile '{0}'")]
    NoProfile(String),
    #[error("the profile source responded with unexpected content: {0}")]
    Garbage(String),
}

impl SourceError {
    /// Every outcome of a request: `found`, or a [`code`](Self::code).
    pub const OUTCOMES: [&'static str; 14] = [
        "found",
        "profile-not-found",
        "profile-source-actor",
        "profile-source-crowded",
        "profile-source-garbage",
        "profile-source-payment",
        "profile-source-rate-limited",
        "profile-source-rejected",
        "profile-source-resting",
        "profile-source-run-failed",
        "profile-source-throttled",
        "profile-source-timeout",
        "profile-source-token",
        "profile-source-unavailable",
    ];

    /// The stable code of the job error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(_) => "profile-source-token",
            Self::Payment(_) => "profile-source-payment",
            Self::Actor { .. } => "profile-source-actor",
            Self::RateLimited { .. } => "profile-source-rate-limited",
            Self::Crowded(_) => "profile-source-crowded",
            Self::Throttled { .. } => "profile-source-throttled",
            Self::Resting { .. } => "profile-source-resting",
            Self::Unavailable(_) => "profile-source-unavailable",
            Self::RunEnded { .. } => "profile-source-run-failed",
            Self::OutOfTime(_) => "profile-source-timeout",
            Self::Rejected(_) => "profile-source-rejected",
            Self::NoProfile(_) => "profile-not-found",
            Self::Garbage(_) => "profile-source-garbage",
        }
    }

    /// Whether no retry helps.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Token(_) | Self::Payment(_) | Self::Actor { .. } | Self::Rejected(_) | Self::NoProfile(_) => true,
            Self::RateLimited { .. }
            | Self::Crowded(_)
            | Self::Throttled { .. }
            | Self::Resting { .. }
            | Self::Unavailable(_)
            | Self::RunEnded { .. }
            | Self::OutOfTime(_)
            | Self::Garbage(_) => false,
        }
    }

    /// When to retry, if the source or its guard said so.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => *retry_after,
            Self::Throttled { retry_after } | Self::Resting { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

impl From<SourceError> for JobError {
    fn from(error: SourceError) -> Self {
        Self {
            code: error.code().to_owned(),
            message: error.to_string(),
            permanent: error.is_permanent(),
            // Rounded up, because a retry that is too early fails again.
            retry_after_seconds: error
                .retry_after()
                .map(|wait| u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_listed_outcome() {
        let (text, time) = (String::new, Duration::ZERO);
        let errors = [
            SourceError::Token(text()),
            SourceError::Payment(text()),
            SourceError::Actor { actor: text() },
            SourceError::RateLimited { retry_after: None },
            SourceError::Crowded(text()),
            SourceError::Throttled { retry_after: time },
            SourceError::Resting { retry_after: time },
            SourceError::Unavailable(text()),
            SourceError::RunEnded { status: text(), message: text() },
            SourceError::OutOfTime(time),
            SourceError::Rejected(text()),
            SourceError::NoProfile(text()),
            SourceError::Garbage(text()),
        ];
        let mut outcomes: Vec<_> = errors.iter().map(SourceError::code).chain(["found"]).collect();
        outcomes.sort_unstable();
        assert_eq!(outcomes, SourceError::OUTCOMES);
    }
}
