//! What `docs/reference/` is generated from.

use clap::CommandFactory as _;
use prometheus_client::registry::Registry;

use crate::{apify::SourceError, cli::Arguments, images, metrics::Metrics};

/// The command line of `switchyard-worker`.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Every metric of `switchyard-worker`, with a series for each value of its labels.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    switchyard_jobs::reference::process(&mut registry, &["profile-source"]);
    switchyard_jobs::reference::worker(&mut registry);
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    metrics.sample(&SourceError::OUTCOMES, &images::OUTCOMES);
    registry
}
