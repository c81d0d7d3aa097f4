//! Integration tests: the workers against real servers on loopback.

#![expect(clippy::panic, reason = "a panic fails the test")]

mod analysis;
mod apify;
mod images;
mod object_store;
mod profile_fallback;
mod support;
mod throttle;
