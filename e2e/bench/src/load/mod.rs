//! The load generator: keep-alive HTTP/1.1 on raw sockets.
//!
//! In the closed loop, each connection waits for a response before its next request. The open loop
//! sends at a fixed rate, whatever the responses do. All systems under test get the same requests
//! from the same code. The generator runs on one thread, so that it takes little CPU time from the
//! system under test.

mod closed;
mod connection;
mod open;
mod plan;
mod tally;

pub use closed::closed;
pub use connection::Connection;
pub use open::open;
pub use plan::{Plan, Traffic};
pub use tally::Tally;
