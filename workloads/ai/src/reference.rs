//! What `docs/reference/` is generated from.

use clap::CommandFactory as _;
use prometheus_client::registry::Registry;

use crate::{cli::Cli, metrics::Metrics};

/// The command line of `switchyard-ai`.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Every metric of `switchyard-ai`, with a series for each value of its labels.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    switchyard_jobs::reference::process(&mut registry, &["model", "candidate-model"]);
    switchyard_jobs::reference::worker(&mut registry);
    Metrics::sample(&mut registry);
    registry
}
