//! `switchyard-worker`: runs the jobs of one pool of the kinds general, cdn or discovery.

use std::process::ExitCode;

use clap::Parser;
use switchyard_contract::{Config, Mount};
use switchyard_jobs::runner::process::{self, Options, Process};
use switchyard_worker::handlers;

/// Runs the jobs of one worker pool. What it does comes from the mounted configuration.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    Box::pin(process::run_main(run(&arguments.options, &Mount::from_env()))).await
}

async fn run(options: &Options, mount: &Mount) -> anyhow::Result<()> {
    let mut process = Process::open(Config::load(mount)?, mount, "switchyard-worker")?;
    let (cache, breakers) = (process.cache.clone(), process.breakers.clone());
    let handler = handlers::for_pool(&process.config, mount, cache, &mut process.registry, &breakers)?;
    // The handlers only call other services: no state of this process could require a restart.
    process.run(options, handler, || Ok(())).await?;
    Ok(())
}
