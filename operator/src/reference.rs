//! What `docs/reference/` is generated from, except for the types that are public anyway.

use clap::CommandFactory as _;

use crate::{cli::Cli, controllers::state_metrics::StateMetricsSample, telemetry::metrics::Metrics};

/// The command line of `switchyard-operator`.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Every metric of the operator in the OpenMetrics text format, with a series for each value of
/// its labels.
pub fn metrics() -> Metrics {
    let metrics = Metrics::with_collector(StateMetricsSample);
    metrics.sample();
    metrics
}
