//! Access to the API server: client, watch cache, reads, writes, leader election and write fence.

pub mod api;
pub mod applier;
pub mod cache;
pub mod client;
pub mod error;
pub mod kinds;
pub mod leader_election;
pub mod prune;
pub mod reader;
pub mod rollout;
pub(crate) mod ttl_cache;
pub mod write_fence;
