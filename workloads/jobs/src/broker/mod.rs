//! RabbitMQ: tickets for workers, and events for watchers.
//!
//! A message is a *ticket*: so many jobs of this queue can be claimed. It names none of them. The
//! store decides which jobs a claim returns, and in which order. RabbitMQ holds nothing that the
//! store does not know: the relay publishes a lost ticket again, and a duplicate ticket claims
//! nothing.
//!
//! One [`Broker`] holds one supervised connection. It reconnects when the connection breaks or
//! stops answering.

mod address;
mod connection;
mod consumer;
mod error;
mod event_feed;
mod publisher;
mod topology;

pub(crate) use address::BrokerAddress;
pub use address::BrokerAddressError;
pub use connection::Broker;
pub(crate) use connection::check_connection;
pub use consumer::{Consumer, MAX_PREFETCH, Message};
pub use error::BrokerError;
pub use event_feed::EventFeed;
pub use publisher::{JOBS_PER_MESSAGE, Published};
pub use topology::{DELIVERY_LIMIT, EVENTS_EXCHANGE, JOBS_EXCHANGE};
