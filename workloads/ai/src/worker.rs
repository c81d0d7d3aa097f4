//! The AI worker process: the job core's process with the models in its hands.

use std::{path::PathBuf, sync::Arc, thread};

use anyhow::{Context, bail};
use clap::Args;
use switchyard_contract::{Config, Kind, Mount, Workload};
use switchyard_jobs::{
    process::{self, Process},
    resilience::{Breaker, Policy},
};

use crate::{Engine, handler::AnalysePosts, health::Health, metrics::Metrics};

/// How the worker runs; what it works on comes from the mounted configuration.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    process: process::Options,
    /// Threads that run the model, each on one post at a time. By default as many as the container may use processors.
    #[arg(long, env = "SWITCHYARD_MODEL_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    model_threads: Option<u16>,
}

/// Runs until SIGTERM.
pub async fn run(options: Options, model: PathBuf, mount: &Mount) -> anyhow::Result<()> {
    let config = Config::load(mount)?;
    check(&config)?;
    let mut process = Process::open(config, mount, "switchyard-ai")?;

    // A worker whose model cannot even start ends here: a roll-out then stops with the workers before it still at work.
    let threads = options.model_threads.map_or_else(processors, usize::from);
    let engine =
        tokio::task::spawn_blocking(move || Engine::start(&model, threads)).await.context("the models' start")??;
    let engine = Arc::new(engine);
    tracing::info!(model = engine.info().name, version = engine.info().version, threads, "the model is warm");

    let metrics = Arc::new(Metrics::default());
    metrics.register(&mut process.registry, engine.info(), threads);
    let health = Health::watch(Arc::clone(&engine), Arc::clone(&metrics));
    let breaker = Breaker::new("model", Policy::AI);
    process.breakers.add(breaker.clone());
    let handler = Arc::new(AnalysePosts::new(engine, breaker, metrics));
    process.run(&options.process, handler, move || health.ask()).await?;
    Ok(())
}

fn check(config: &Config) -> anyhow::Result<()> {
    match &config.workload {
        Workload::Pool { kind: Kind::Ai, .. } => Ok(()),
        Workload::Pool { name, kind, .. } => {
            bail!(
                "pool '{name}' is of kind {kind}, which needs no models: run switchyard-worker from the image 'worker'"
            )
        }
        _ => bail!("the configuration is not that of a worker pool: the operator starts this program for pools alone"),
    }
}

/// Processors that this process may use: the container's limit where it has one, never fewer than one.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
