//! The watch cache: what the operator knows of the cluster without an API call.

mod dependents;
pub mod entry;
pub mod index;
mod kind_watch;
mod reconcile_request;
mod snapshot;
pub mod store;
mod watch;
mod watch_status;
mod watched_kind;
