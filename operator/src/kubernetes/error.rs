//! Why a call of the API server came to nothing.

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server took the call and refused it: trying again at once does not help.
    #[error("{what}: {words}")]
    Refused {
        /// What it was about.
        what: String,
        /// A stable reason.
        reason: &'static str,
        /// The server's words.
        words: String,
    },
    /// The call did not get through, or somebody else was faster: worth trying again.
    #[error("{what}: {source}")]
    Unanswered {
        /// What it was about.
        what: String,
        source: kube::Error,
    },
    /// What the decision follows from is not known: worth trying again.
    #[error("{what}: {words}")]
    Unseen {
        /// What it was about.
        what: String,
        /// Why it is not known.
        words: String,
    },
    /// The object has no namespace or was never stored.
    #[error("{0} has no namespace or identity")]
    Unstored(String),
}

impl Error {
    /// Sorts a client's error.
    pub fn of(what: impl Into<String>, error: kube::Error) -> Self {
        let what = what.into();
        match error {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 404 | 405 | 422) => Self::Refused {
                what,
                reason: if status.code == 403 { "Forbidden" } else { "Refused" },
                words: status.message.clone(),
            },
            source => Self::Unanswered { what, source },
        }
    }

    /// A label for metrics: `refused`, `unanswered` or `unstored`.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unanswered { .. } | Self::Unseen { .. } => "unanswered",
            Self::Unstored(_) => "unstored",
        }
    }
}
