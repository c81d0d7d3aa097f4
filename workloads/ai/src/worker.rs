//! The AI worker process: the job core's runner with the models in its hands.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use prometheus_client::registry::Registry;
use switchyard_contract::{
    Config, Kind, Mount, OPERATIONS_PORT, Workload,
    files::{BROKER_URI, CACHE_URI},
};
use switchyard_jobs::{
    broker::Broker,
    cache::Cache,
    ops::{self, Readiness},
    runner::{self, Runner, Timing},
    shutdown,
    store::Store,
};
use tokio_util::sync::CancellationToken;

use crate::{Engine, handler::AnalysePosts, health::Health, metrics::Metrics};

/// How the worker runs; what it works on comes from the mounted configuration.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where probes and metrics are answered.
    #[arg(long, env = "SWITCHYARD_OPERATIONS_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], OPERATIONS_PORT)))]
    operations_listen: SocketAddr,
    /// Seconds that running jobs have to finish after SIGTERM; then they are handed back.
    #[arg(long, env = "SWITCHYARD_GRACE_SECONDS", default_value_t = Timing::default().grace.as_secs())]
    grace_seconds: u64,
    /// Threads that run the model, each on one post at a time. By default as many as the container may use processors.
    #[arg(long, env = "SWITCHYARD_MODEL_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    model_threads: Option<u16>,
}

/// Runs until SIGTERM.
pub async fn run(options: Options, model: PathBuf, mount: &Mount) -> anyhow::Result<()> {
    let asked_to_stop = shutdown::signal();
    let config = Arc::new(Config::load(mount)?);
    check(&config)?;
    let store = Store::connect(&config, mount)?;
    let broker = Broker::connect(&mount.secret(BROKER_URI)?, "switchyard-ai")?;
    let cache = Cache::connect(&mount.secret(CACHE_URI)?, Duration::from_secs(config.analysis.result_ttl_seconds))?;

    // A worker whose model cannot even start ends here: a roll-out then stops with the workers before it still at work.
    let threads = options.model_threads.map_or_else(processors, usize::from);
    let engine =
        tokio::task::spawn_blocking(move || Engine::start(&model, threads)).await.context("the models' start")??;
    let engine = Arc::new(engine);
    tracing::info!(model = engine.info().name, version = engine.info().version, threads, "the model is warm");

    let metrics = Arc::new(Metrics::default());
    let mut registry = Registry::default();
    metrics.register(&mut registry, engine.info(), threads);
    let health = Health::watch(Arc::clone(&engine), Arc::clone(&metrics));
    let runner = Runner {
        config,
        store: store.clone(),
        broker: broker.clone(),
        cache,
        metrics: runner::Metrics::register(&mut registry),
        timing: Timing { grace: Duration::from_secs(options.grace_seconds), ..Timing::default() },
    };
    let handler = Arc::new(AnalysePosts::new(engine, metrics));

    let readiness = readiness(store, broker.clone(), health);
    let served = CancellationToken::new();
    let probes = ops::serve(options.operations_listen, Arc::new(registry), readiness.clone(), served.child_token());
    let work = async {
        readiness.set(true);
        let drained = runner.run(handler, asked_to_stop.clone()).await;
        broker.close().await;
        served.cancel();
        drained
    };
    let draining = async {
        asked_to_stop.cancelled().await;
        readiness.set(false);
    };
    tokio::try_join!(
        async { probes.await.context("probes and metrics") },
        async { work.await.context("jobs") },
        async {
            tokio::select! { () = draining => {}, () = served.cancelled() => {} }
            Ok(())
        },
    )?;
    tracing::info!("ended in good order");
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

/// Ready with a model that answers rightly, the database, which holds the jobs, and the broker, which tells of them. Alive with the model alone: a
/// restart may mend that one.
fn readiness(store: Store, broker: Broker, health: Health) -> Readiness {
    let live = health.clone();
    Readiness::new()
        .with_check(move || {
            let (store, broker, health) = (store.clone(), broker.clone(), health.clone());
            async move {
                health.ask()?;
                store.ping().await.map_err(|error| error.to_string())?;
                if broker.is_connected() { Ok(()) } else { Err("not connected to the broker".to_owned()) }
            }
        })
        .with_live_check(move || {
            let health = live.clone();
            async move { health.ask() }
        })
}
