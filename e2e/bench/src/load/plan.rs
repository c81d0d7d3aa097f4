//! What the load generator sends, and where to.

use std::{net::SocketAddr, time::Duration};

/// A source of requests.
pub trait Traffic {
    /// Appends one complete request to `out`, which is empty.
    fn write(&self, out: &mut Vec<u8>);
}

/// Target, connections and duration of a load.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub address: SocketAddr,
    /// Opened before the first request.
    pub connections: usize,
    /// Load before counting starts.
    pub warm_up: Duration,
    pub duration: Duration,
}
