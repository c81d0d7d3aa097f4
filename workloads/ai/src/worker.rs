//! The process of the ai worker: loads the models and runs the jobs of a pool.

use std::{path::PathBuf, sync::Arc, thread};

use anyhow::{Context, bail};
use clap::Args;
use switchyard_contract::{Config, Kind, Mount, Workload};
use switchyard_jobs::{
    resilience::{Breaker, Policy},
    runner::process::{self, Process},
};

use crate::{
    engine::{Batching, Engine},
    handler::ClassificationHandler,
    health::Health,
    metrics::Metrics,
    model::Provider,
    variants::{Variant, Variants},
};

/// Command-line options of the worker. The mounted configuration has all that concerns jobs.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    process: process::Options,
    /// Threads that run the model, 1 to 256. By default as many as the container may use CPUs.
    #[arg(long, env = "SWITCHYARD_MODEL_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    model_threads: Option<u16>,
    /// Most posts of one batch on a GPU, from any jobs, 1 to 256.
    #[arg(long, env = "SWITCHYARD_MODEL_BATCH", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=256))]
    model_batch: u16,
    /// Folder of a candidate model, to try a new version.
    #[arg(long, env = "SWITCHYARD_CANDIDATE_MODEL_DIR", requires = "candidate_percent")]
    candidate_model_dir: Option<PathBuf>,
    /// Share of the tenants that the candidate answers, 0 to 100 percent. Always the same tenants.
    #[arg(long, env = "SWITCHYARD_CANDIDATE_PERCENT", requires = "candidate_model_dir", value_parser = clap::value_parser!(u8).range(0..=100))]
    candidate_percent: Option<u8>,
}

/// Runs the worker until SIGTERM.
///
/// # Errors
/// The configuration is invalid, a model cannot be loaded, or the process fails.
pub async fn run(options: Options, model: PathBuf, provider: Provider, mount: &Mount) -> anyhow::Result<()> {
    let config = Config::load(mount)?;
    check(&config)?;
    let mut process = Process::open(config, mount, "switchyard-ai")?;

    // Without a model the process ends here. A rollout then stops, and the old workers go on.
    let threads = options.model_threads.map_or_else(processors, usize::from);
    let batching = Batching { max_posts: options.model_batch.into(), ..Batching::default() };
    let start = async |folder: PathBuf| {
        let start = move || Engine::start(&folder, threads, provider, batching);
        anyhow::Ok(Arc::new(tokio::task::spawn_blocking(start).await.context("loading the model was interrupted")??))
    };
    let stable = start(model).await?;
    let candidate = match options.candidate_model_dir.zip(options.candidate_percent) {
        Some((folder, percent)) => Some((start(folder).await.context("cannot load the candidate")?, percent)),
        None => None,
    };

    let metrics = Arc::new(Metrics::default());
    metrics.register(&mut process.registry);
    let engines: Vec<&Engine> =
        std::iter::once(&*stable).chain(candidate.iter().map(|(engine, _)| &**engine)).collect();
    Metrics::models(&mut process.registry, &engines, threads);
    for engine in engines {
        let (info, placement) = (engine.info(), engine.placement());
        match &placement.reason {
            None => {
                tracing::info!(model = info.name, version = info.version, threads, provider = %placement.actual, "loaded model");
            }
            Some(reason) => {
                tracing::warn!(model = info.name, version = info.version, requested = %placement.requested, actual = %placement.actual, reason, "loaded model on fallback provider");
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
        Some((engine, percent)) => Variants::with_candidate(stable, variant("candidate-model", engine), percent),
        None => Variants::single(stable),
    };
    let handler = Arc::new(ClassificationHandler::new(models, metrics));
    process.run(&options.process, handler, move || health.check()).await?;
    Ok(())
}

fn check(config: &Config) -> anyhow::Result<()> {
    match &config.workload {
        Workload::Pool { kind: Kind::Ai, .. } => Ok(()),
        Workload::Pool { name, kind, .. } => {
            bail!("pool '{name}' is of kind {kind}: run switchyard-worker from the image 'worker' instead")
        }
        _ => bail!("the configuration is not that of a worker pool: this program only runs worker pools"),
    }
}

/// CPUs that this process may use: the container's limit if it has one, at least 1.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
