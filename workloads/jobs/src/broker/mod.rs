//! RabbitMQ, which tells workers where to look and watchers what happened.
//!
//! Nothing is kept here that the store does not know: a message that is lost is sent again by the relay, a message that comes twice leads to nothing.
//! One [`Broker`] holds one supervised connection, made anew whenever it breaks or falls silent.

mod consume;
mod link;
mod publish;
mod subscribe;
mod topology;

pub use consume::{Intake, Message};
pub use link::{Broker, BrokerAddressError};
pub(crate) use link::{host, try_once};
pub use publish::Published;
pub use subscribe::EventFeed;
pub use topology::{DELIVERY_LIMIT, EVENTS_EXCHANGE, JOBS_EXCHANGE};

/// Why the broker could not do something now. It is always worth trying again.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("no connection to the broker")]
    Away,
    #[error("the broker did not answer within {0} s")]
    Silent(u64),
    /// Messages lay in the queue and none was delivered.
    #[error("the broker stopped delivering from {0}")]
    Stalled(crate::model::Queue),
    #[error("the broker refused: {0}")]
    Refused(#[from] lapin::Error),
}
