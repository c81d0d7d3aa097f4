//! Integration tests: the workers against real servers on loopback.

mod analysis;
mod apify;
mod images;
mod object_store;
mod profile_fallback;
mod support;
mod throttle;
