//! Authentication and rate limits of callers.
//!
//! A tenant's key is looked up in the database, and trusted for a while afterwards for answers from
//! the cache.

pub mod admin_key;
pub mod authenticator;
pub mod bearer;
pub mod caller;
pub mod key_cache;
pub mod rate_limit;
pub mod unknown_keys;
