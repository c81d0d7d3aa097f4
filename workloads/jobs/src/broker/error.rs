//! Errors of the broker.

use crate::model::Queue;

/// Why a broker call failed. Every one of them may be retried.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("no connection to the broker")]
    Disconnected,
    /// After so many seconds.
    #[error("the broker did not answer within {0} s")]
    Timeout(u64),
    /// The queue holds messages and the broker delivered none.
    #[error("the broker stopped delivering from {0}")]
    Stalled(Queue),
    #[error("the broker refused: {0}")]
    Refused(#[from] lapin::Error),
}
