//! The load generator: keep-alive HTTP/1.1 on raw sockets, in a closed loop (as fast as the answers come) or an open one (at a rate, whatever the answers do).
//! Both sides of every comparison get the same requests from the same code. All on one thread, so that it takes as little as can be from what it measures.

mod closed;
mod connection;
mod open;
mod tally;

use std::{net::SocketAddr, time::Duration};

pub use closed::closed;
pub use connection::Connection;
pub use open::open;
pub use tally::Tally;

/// What requests say.
pub trait Traffic {
    /// Appends one whole request to `out`, which is empty.
    fn write(&self, out: &mut Vec<u8>);
}

/// Whom to ask, over how many connections, for how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub address: SocketAddr,
    /// All are opened before the first request.
    pub connections: usize,
    /// Load without counting, first.
    pub warm_up: Duration,
    pub duration: Duration,
}
