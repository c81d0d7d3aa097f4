//! Workers of the kinds general, cdn and discovery.
//!
//! Each kind is a [`switchyard_jobs::handler::Handler`]; the job core claims jobs, keeps their
//! leases and records their outcomes. [`handlers::for_pool`] builds the handler of a pool.

pub mod analysis;
pub mod apify;
pub mod children;
pub mod cli;
pub mod discovery;
pub mod handlers;
pub mod images;
pub mod metrics;
pub mod profile;
pub mod profile_fetcher;
pub mod reference;
pub mod source_guard;
pub mod throttle;
