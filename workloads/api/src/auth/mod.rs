//! Who calls, and how fast: keys, the admin key, what this process knows of keys, and rate limits.

pub mod admin_key;
pub mod caller;
pub mod key_cache;
pub mod rate_limit;
