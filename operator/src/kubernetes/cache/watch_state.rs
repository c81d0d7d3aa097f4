//! How far the watch of a kind has come.

/// How far the watch of a kind has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchState {
    Unlisted,
    Listed,
    /// The cluster does not know the kind, and need not; or the operator may not know, which comes to the same.
    Missing,
    Failing {
        /// Whether it was listed before.
        listed: bool,
        /// A reason, where the API server would not have it.
        refused: Option<&'static str>,
        words: String,
    },
}
