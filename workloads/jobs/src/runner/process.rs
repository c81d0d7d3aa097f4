//! The lifecycle of a worker process, the same for every kind: options, connections, probes, jobs,
//! shutdown.

use std::{fmt::Display, io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use prometheus_client::registry::Registry;
use switchyard_contract::{Config, Mount, OPERATIONS_PORT, Workload};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Metrics, Runner, RunnerError, Timing, worker_name};
use crate::{
    broker::{Broker, BrokerAddressError},
    cache::{Cache, CacheAddressError},
    handler::Handler,
    recovery::{Action, Recoveries},
    resilience::{Breakers, deadline},
    service::{
        cgroup,
        connections::Connections,
        cpu,
        memory::MemoryMonitor,
        probes::{self, Probes},
        shutdown, telemetry,
    },
    store::{AddressError, Store},
    trace,
};

/// Limit for recording a memory drain in the database.
const RECORD_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the `main` of a worker: sets up logs, awaits `work` and turns its result into an exit code.
///
/// An error is logged with its causes (`{:#}`).
pub async fn run_main<E: Display>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    telemetry::init();
    match work.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "worker failed");
            ExitCode::FAILURE
        }
    }
}

/// Command-line options of a worker. What it works on comes from the mounted configuration.
#[derive(Debug, Clone, Args)]
// A program may flatten these into options of the same name.
#[group(skip)]
pub struct Options {
    /// Address on which probes and metrics are served.
    #[arg(long, env = "SWITCHYARD_OPERATIONS_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], OPERATIONS_PORT)))]
    operations_listen: SocketAddr,
    /// Seconds that running jobs have to finish after SIGTERM; then they are released.
    #[arg(long, env = "SWITCHYARD_GRACE_SECONDS", default_value_t = Timing::default().grace.as_secs())]
    grace_seconds: u64,
    /// Memory limit in bytes; near it the process drains and exits. Defaults to the
    /// container's limit.
    #[arg(long, env = "SWITCHYARD_MEMORY_LIMIT_BYTES")]
    memory_limit_bytes: Option<u64>,
}

/// Why a worker process could not start, or failed while it ran.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error(transparent)]
    Database(#[from] AddressError),
    #[error(transparent)]
    Broker(#[from] BrokerAddressError),
    #[error(transparent)]
    Cache(#[from] CacheAddressError),
    #[error("probes and metrics: {0}")]
    Probes(#[from] io::Error),
    #[error("jobs: {0}")]
    Jobs(#[from] RunnerError),
}

/// A configured worker process that does not run jobs yet.
pub struct Process {
    pub config: Arc<Config>,
    pub cache: Cache,
    /// The metrics of `/metrics`; handlers register their own here.
    pub registry: Registry,
    /// The circuit breakers of `/metrics`; handlers add their own here.
    pub breakers: Breakers,
    store: Store,
    broker: Broker,
    stop: CancellationToken,
}

impl Process {
    /// Prepares the connections that `config` describes; they are opened when first used.
    ///
    /// `client` is the connection name that the broker shows. SIGTERM is handled from here on.
    /// Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`ProcessError::Database`], [`ProcessError::Broker`] or [`ProcessError::Cache`] if a mounted
    /// address is missing or invalid.
    pub fn open(config: Config, mount: &Mount, client: &str) -> Result<Self, ProcessError> {
        let stop = shutdown::signal();
        let config = Arc::new(config);
        let store = Store::connect(&config, mount)?;
        let broker = Broker::mounted(mount, client)?;
        let ttl = Duration::from_secs(config.analysis.result_ttl_seconds);
        let cache = Cache::mounted(mount, ttl)?;
        let mut registry = Registry::default();
        cpu::register(&mut registry, cgroup::cpu_limit());
        let breakers = Breakers::register(&mut registry);
        let stores = [store.breaker()].into_iter().chain(store.replica_breakers());
        stores.chain([cache.breaker()]).for_each(|breaker| breakers.add(breaker.clone()));
        let connections = Connections { store: store.clone(), broker: broker.clone(), cache: cache.clone() };
        registry.register_collector(Box::new(connections));
        if let (Some(telemetry), Workload::Pool { kind, .. }) = (&config.telemetry, &config.workload) {
            trace::export::start(telemetry, &format!("switchyard-{kind}"), &config.platform.name);
        }
        Ok(Self { config, cache, registry, breakers, store, broker, stop })
    }

    /// Runs jobs until SIGTERM, or until memory use is near the limit.
    ///
    /// Running jobs may then finish within the grace time; the rest is released. `health` reports a
    /// failure of the work itself that a restart may repair. It is part of both probes and must not
    /// block.
    ///
    /// # Errors
    /// [`ProcessError::Probes`] if the operations port cannot be served, and [`ProcessError::Jobs`]
    /// if the configuration is not that of a worker pool.
    pub async fn run<H>(self, options: &Options, handler: Arc<dyn Handler>, health: H) -> Result<(), ProcessError>
    where
        H: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
    {
        let Self { config, cache, mut registry, breakers: _, store, broker, stop } = self;
        let probes = probes(store.clone(), broker.clone(), health);
        let memory_limit = options.memory_limit_bytes.or_else(cgroup::memory_limit);
        let memory = MemoryMonitor::register(&mut registry, memory_limit);
        let recoveries = Recoveries::register(&mut registry);
        let runner = Runner {
            config: config.clone(),
            store: store.clone(),
            broker: broker.clone(),
            cache,
            metrics: Metrics::register(&mut registry),
            timing: Timing { grace: Duration::from_secs(options.grace_seconds), ..Timing::default() },
            memory_limit,
        };
        let finished = CancellationToken::new();
        let server =
            probes::serve(options.operations_listen, Arc::new(registry), probes.clone(), finished.child_token());
        let work = async {
            probes.set_ready(true);
            let drained = runner.run(handler, stop.clone()).await;
            broker.close().await;
            finished.cancel();
            Ok::<_, ProcessError>(drained?)
        };
        let memory_watch = async {
            // It cancels the same token as SIGTERM.
            let evidence =
                tokio::select! { evidence = memory.watch(&stop) => evidence, () = finished.cancelled() => None };
            if let (Some(evidence), Workload::Pool { name, .. }) = (evidence, &config.workload) {
                recoveries.count(Action::MemoryDrain);
                let worker = worker_name(name);
                let record = store.recovered(Action::MemoryDrain, &worker, &evidence);
                if let Err(error) = deadline::scope(Instant::now() + RECORD_TIMEOUT, record).await {
                    tracing::debug!(%error, "could not record memory drain");
                }
            }
            Ok(())
        };
        let draining = async {
            // Not ready while jobs finish. `finished` ends the wait when jobs end without a signal.
            tokio::select! { () = stop.cancelled() => probes.set_ready(false), () = finished.cancelled() => {} }
            Ok(())
        };
        tokio::try_join!(async { Ok(server.await?) }, work, draining, memory_watch)?;
        trace::export::flush().await;
        tracing::info!("shut down gracefully");
        Ok(())
    }
}

/// Ready with the database, the broker and a healthy handler. Live with a healthy handler alone.
fn probes<H>(store: Store, broker: Broker, health: H) -> Probes
where
    H: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
{
    let liveness = health.clone();
    Probes::new()
        .with_readiness_check(move || {
            let (store, broker, health) = (store.clone(), broker.clone(), health.clone());
            async move {
                health()?;
                store.ping().await.map_err(|error| error.to_string())?;
                if broker.is_connected() { Ok(()) } else { Err("not connected to the broker".to_owned()) }
            }
        })
        .with_liveness_check(move || {
            let health = liveness.clone();
            async move { health() }
        })
}
