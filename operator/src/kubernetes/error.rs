//! Errors of calls of the API server.

use crate::crd::conditions::Reason;

/// Why a call of the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused the call. An immediate retry does not help.
    #[error("{action}: {message}")]
    Refused {
        /// What failed, for instance "cannot apply Deployment main".
        action: String,
        /// A condition reason.
        reason: Reason,
        /// The message of the API server.
        message: String,
    },
    /// The API server did not answer, or another writer was faster. A retry may succeed.
    #[error("{action}: {source}")]
    Unanswered {
        /// What failed, for instance "cannot apply Deployment main".
        action: String,
        source: kube::Error,
    },
    /// The input of a decision is not known. A retry may succeed.
    #[error("{action}: {message}")]
    Unavailable {
        /// What failed, for instance "cannot apply Deployment main".
        action: String,
        /// Why it is not known.
        message: String,
    },
    /// The object has no namespace or was never stored.
    #[error("{0} has no namespace or identity")]
    Unstored(String),
}

impl Error {
    /// Classifies an error of the client.
    pub fn of(action: impl Into<String>, error: kube::Error) -> Self {
        let action = action.into();
        match error {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 404 | 405 | 422) => Self::Refused {
                action,
                reason: if status.code == 403 { Reason::Forbidden } else { Reason::Refused },
                message: status.message.clone(),
            },
            source => Self::Unanswered { action, source },
        }
    }

    /// Value of the metric label `category`: `refused`, `unanswered` or `unstored`.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unanswered { .. } | Self::Unavailable { .. } => "unanswered",
            Self::Unstored(_) => "unstored",
        }
    }
}
