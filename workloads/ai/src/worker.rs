//! The AI worker process: the job core's process with the models in its hands.

use std::{path::PathBuf, sync::Arc, thread};

use anyhow::{Context, bail};
use clap::Args;
use switchyard_contract::{Config, Kind, Mount, Workload};
use switchyard_jobs::{
    resilience::{Breaker, Policy},
    runner::process::{self, Process},
};

use crate::{
    Engine,
    engine::Batching,
    handler::AnalysePosts,
    health::Health,
    metrics::Metrics,
    model::Provider,
    variants::{Variant, Variants},
};

/// How the worker runs; what it works on comes from the mounted configuration.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    process: process::Options,
    /// Threads that run the model, each on one post at a time. By default as many as the container may use processors.
    #[arg(long, env = "SWITCHYARD_MODEL_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    model_threads: Option<u16>,
    /// Posts in one run of the model on a GPU, whichever jobs they belong to.
    #[arg(long, env = "SWITCHYARD_MODEL_BATCH", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=256))]
    model_batch: u16,
    /// A second model folder, to try a new version.
    #[arg(long, env = "SWITCHYARD_CANDIDATE_MODEL_DIR", requires = "candidate_percent")]
    candidate_model_dir: Option<PathBuf>,
    /// Tenants in a hundred whom that one answers, always the same ones.
    #[arg(long, env = "SWITCHYARD_CANDIDATE_PERCENT", requires = "candidate_model_dir", value_parser = clap::value_parser!(u8).range(0..=100))]
    candidate_percent: Option<u8>,
}

/// Runs until SIGTERM.
pub async fn run(options: Options, model: PathBuf, provider: Provider, mount: &Mount) -> anyhow::Result<()> {
    let config = Config::load(mount)?;
    check(&config)?;
    let mut process = Process::open(config, mount, "switchyard-ai")?;

    // A worker whose model cannot even start ends here: a rollout then stops with the workers before it still at work.
    let threads = options.model_threads.map_or_else(processors, usize::from);
    let batching = Batching { most: options.model_batch.into(), ..Batching::default() };
    let start = async |folder: PathBuf| {
        let start = move || Engine::start(&folder, threads, provider, batching);
        anyhow::Ok(Arc::new(tokio::task::spawn_blocking(start).await.context("the models' start")??))
    };
    let stable = start(model).await?;
    let candidate = match options.candidate_model_dir.zip(options.candidate_percent) {
        Some((folder, percent)) => Some((start(folder).await.context("the candidate")?, percent)),
        None => None,
    };

    let metrics = Arc::new(Metrics::default());
    metrics.register(&mut process.registry);
    let engines: Vec<&Engine> =
        std::iter::once(&*stable).chain(candidate.iter().map(|(engine, _)| &**engine)).collect();
    Metrics::models(&mut process.registry, &engines, threads);
    for engine in engines {
        let (info, runs) = (engine.info(), engine.runs());
        match &runs.reason {
            None => {
                tracing::info!(model = info.name, version = info.version, threads, provider = %runs.on, "the model is warm")
            }
            Some(reason) => {
                tracing::warn!(model = info.name, version = info.version, wanted = %runs.wanted, on = %runs.on, reason, "the model is warm, on another provider");
            }
        }
    }
    let health = Health::watch(Arc::clone(&stable), Arc::clone(&metrics));
    let variant = |name: &'static str, engine: Arc<Engine>| {
        let breaker = Breaker::new(name, Policy::AI);
        process.breakers.add(breaker.clone());
        Variant { model: engine, breaker }
    };
    let stable = variant("model", stable);
    let models = match candidate {
        Some((engine, percent)) => Variants::two(stable, variant("candidate-model", engine), percent),
        None => Variants::one(stable),
    };
    let handler = Arc::new(AnalysePosts::new(models, metrics));
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
