//! What `docs/reference/` is generated from.

use clap::CommandFactory as _;
use prometheus_client::registry::Registry;

pub use crate::http::problem::ProblemType;
use crate::{cli::Arguments, http::metrics::HttpMetrics, operations::platform_metrics::PlatformMetricsSample};

/// The command line of `switchyard-api`.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Every metric of `switchyard-api`, with a series for each value of its labels.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    switchyard_jobs::reference::process(&mut registry, &[]);
    HttpMetrics::register(&mut registry).sample();
    registry.register_collector(Box::new(PlatformMetricsSample));
    registry
}
