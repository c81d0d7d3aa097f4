//! `switchyard-worker`: runs the jobs of one pool of the kinds general, cdn or discovery.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Parser;
use prometheus_client::registry::Registry;
use switchyard_contract::{
    Config, Mount, OPERATIONS_PORT,
    files::{BROKER_URI, CACHE_URI},
};
use switchyard_jobs::{
    broker::Broker,
    cache::Cache,
    ops::{self, Readiness},
    runner::{self, Runner, Timing},
    shutdown,
    store::Store,
    telemetry,
};
use switchyard_worker::{metrics::Metrics, workers};
use tokio_util::sync::CancellationToken;

/// Runs the jobs of one worker pool. What it does comes from the mounted configuration.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where probes and metrics are answered.
    #[arg(long, env = "SWITCHYARD_OPERATIONS_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], OPERATIONS_PORT)))]
    operations_listen: SocketAddr,
    /// Seconds that running jobs have to finish after SIGTERM; then they are handed back.
    #[arg(long, env = "SWITCHYARD_GRACE_SECONDS", default_value_t = Timing::default().grace.as_secs())]
    grace_seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init();
    match run(&arguments, &Mount::from_env()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the worker ends");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments, mount: &Mount) -> anyhow::Result<()> {
    let asked_to_stop = shutdown::signal();
    let config = Arc::new(Config::load(mount)?);
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::default());
    metrics.register(&mut registry);
    let handler = workers::handler(&config, mount, metrics)?;

    let store = Store::connect(&config, mount)?;
    let broker = Broker::connect(&mount.secret(BROKER_URI)?, "switchyard-worker")?;
    let ttl = Duration::from_secs(config.analysis.result_ttl_seconds);
    let cache = Cache::connect(&mount.secret(CACHE_URI)?, ttl)?;
    let runner = Runner {
        config,
        store: store.clone(),
        broker: broker.clone(),
        cache,
        metrics: runner::Metrics::register(&mut registry),
        timing: Timing { grace: Duration::from_secs(arguments.grace_seconds), ..Timing::default() },
    };

    let readiness = readiness(store, broker.clone());
    let served = CancellationToken::new();
    let probes = ops::serve(arguments.operations_listen, Arc::new(registry), readiness.clone(), served.child_token());
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
        Ok(())
    };
    tokio::try_join!(
        async { probes.await.context("probes and metrics") },
        async { work.await.context("jobs") },
        async {
            tokio::select! { done = draining => done, () = served.cancelled() => Ok(()) }
        },
    )?;
    tracing::info!("ended in good order");
    Ok(())
}

/// Ready while jobs can be had: with the database, which holds them, and the broker, which tells of them.
fn readiness(store: Store, broker: Broker) -> Readiness {
    Readiness::new().with_check(move || {
        let (store, broker) = (store.clone(), broker.clone());
        async move {
            store.ping().await.map_err(|error| error.to_string())?;
            if broker.is_connected() { Ok(()) } else { Err("not connected to the broker".to_owned()) }
        }
    })
}
