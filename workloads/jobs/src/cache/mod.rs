//! Redis: recent results and profiles, shared token buckets, and the epoch of valid API keys.
//!
//! All of it may be lost at any time. A failed lookup counts as a miss. One platform has one Redis
//! database to itself. Results are of public profiles, so all tenants share them.

mod client;
mod profiles;
mod results;
mod token_bucket;

pub use client::{Cache, CacheAddressError, CacheCounts, CacheUnavailable};
pub use results::{CachedResult, Epoch, Lookup};
pub use token_bucket::Taken;
