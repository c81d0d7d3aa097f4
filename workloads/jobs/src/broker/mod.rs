//! RabbitMQ, which tells workers where to look and watchers what happened.
//!
//! A message is a *ticket*: so many jobs of this queue can be claimed. It names none; which ones they are, and whose turn it is, the store says. So nothing is
//! kept here that the store does not know: a ticket that is lost is sent again by the relay, one that comes twice leads to nothing.
//! One [`Broker`] holds one supervised connection, made anew whenever it breaks or falls silent.

mod address;
mod consume;
mod link;
mod publish;
mod subscribe;
mod topology;

pub(crate) use address::BrokerAddress;
pub use address::BrokerAddressError;
pub use consume::{Intake, Message, WIDEST};
pub use link::Broker;
pub(crate) use link::try_once;
pub use publish::{JOBS_A_MESSAGE, Published};
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
