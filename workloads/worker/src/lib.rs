//! The workers of the kinds general, cdn and discovery. Each is a [`switchyard_jobs::handler::Handler`]; the job core does the rest.

pub mod analysis;
pub mod apify;
pub mod children;
pub mod discovery;
pub mod gate;
pub mod images;
pub mod metrics;
pub mod profile;
pub mod profiles;
pub mod throttle;
pub mod workers;
