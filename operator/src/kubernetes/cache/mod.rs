//! The watch cache: what the operator knows of the cluster without asking.

pub mod entry;
pub mod index;
pub mod store;
mod watch;
mod watch_state;
