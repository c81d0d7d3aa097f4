//! The command line of `switchyard-worker`.

use clap::Parser;
use switchyard_jobs::runner::process::Options;

/// Runs the jobs of one worker pool. What it does comes from the mounted configuration.
#[derive(Debug, Parser)]
#[command(name = "switchyard-worker", version)]
pub struct Arguments {
    #[command(flatten)]
    pub options: Options,
}
