//! Status of the watch of one kind.

use kube::runtime::watcher;

use crate::crd::conditions::Reason;

/// Status of the watch of one kind, with the resyncs that were requested of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WatchStatus {
    pub state: WatchState,
    /// Number of the last resync that was requested. 0 before the first one.
    pub requested_resync: u64,
    /// Number of the last resync that the watch answered, with a complete list or with an error.
    pub answered_resync: u64,
}

impl Default for WatchStatus {
    fn default() -> Self {
        Self { state: WatchState::Unlisted, requested_resync: 0, answered_resync: 0 }
    }
}

impl WatchStatus {
    /// Whether every requested resync has been answered.
    pub const fn is_resynced(&self) -> bool {
        self.answered_resync >= self.requested_resync
    }
}

/// Progress of the watch of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WatchState {
    /// The first list has not ended.
    Unlisted,
    Listed,
    /// The cluster does not serve this optional kind, or denies the operator access to it.
    Missing,
    Failing {
        /// Whether an earlier list succeeded, so that the cache holds objects of the kind.
        listed: bool,
        /// A condition reason, if the API server rejects the request.
        refused: Option<Reason>,
        message: String,
    },
}

impl WatchState {
    /// Whether the cache holds the objects of the kind, up to date or not.
    pub const fn has_listed(&self) -> bool {
        matches!(self, Self::Listed | Self::Failing { listed: true, .. })
    }
}

/// Whether the API server answers so for an optional kind that the cluster does not serve.
///
/// Authorization comes before routing: without RBAC rules for the kind, the answer is 403 even if
/// its CRD is not installed.
pub(super) const fn is_missing(code: u16) -> bool {
    matches!(code, 403 | 404)
}

/// Condition reason for a rejection that a retry does not cure.
pub(super) const fn refusal_reason(code: u16) -> Option<Reason> {
    match code {
        403 => Some(Reason::Forbidden),
        400 | 401 | 404 | 405 | 422 => Some(Reason::Refused),
        _ => None,
    }
}

/// HTTP status of an error of the API server; 0 for any other error.
pub(super) const fn code_of(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// The message of the API server, or the text of the error if it sent none.
pub(super) fn message_of(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.message.clone(),
        other => other.to_string(),
    }
}
