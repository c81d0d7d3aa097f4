//! The life of a worker process, the same for every kind: what it is told, what it connects to, its probes, its jobs, its end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use prometheus_client::registry::Registry;
use switchyard_contract::{Config, Mount, OPERATIONS_PORT, Workload};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, BrokerAddressError},
    cache::{Cache, CacheAddressError},
    cgroup,
    connections::Connections,
    handler::Handler,
    memory::Memory,
    ops::{self, Readiness},
    processor,
    recovery::{Action, Recoveries},
    resilience::{collector::Breakers, deadline},
    runner::{self, Runner, RunnerError, Timing, worker_name},
    shutdown,
    store::{AddressError, Store},
    trace,
};

/// How long the telling of a drain may take.
const TELLING: Duration = Duration::from_secs(2);

/// How a worker runs; what it works on comes from the mounted configuration.
#[derive(Debug, Clone, Args)]
// A program may have options of the same name around these.
#[group(skip)]
pub struct Options {
    /// Where probes and metrics are answered.
    #[arg(long, env = "SWITCHYARD_OPERATIONS_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], OPERATIONS_PORT)))]
    operations_listen: SocketAddr,
    /// Seconds that running jobs have to finish after SIGTERM; then they are handed back.
    #[arg(long, env = "SWITCHYARD_GRACE_SECONDS", default_value_t = Timing::default().grace.as_secs())]
    grace_seconds: u64,
    /// Bytes of memory that the container may hold: near them the process finishes its jobs and ends. Without it nothing is watched.
    #[arg(long, env = "SWITCHYARD_MEMORY_LIMIT_BYTES")]
    memory_limit_bytes: Option<u64>,
}

/// Why a worker process could not begin, or ended before it was asked to.
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

/// A worker process that has been told what to do and does not do it yet.
pub struct Process {
    pub config: Arc<Config>,
    pub cache: Cache,
    /// What `/metrics` shows; the work's own metrics go in here.
    pub registry: Registry,
    /// The circuit breakers that `/metrics` shows; the work's own go in here.
    pub breakers: Breakers,
    store: Store,
    broker: Broker,
    stop: CancellationToken,
}

impl Process {
    /// Prepares the connections that `config` describes, which are made when they are needed. `client` names the process to the broker. From here
    /// on SIGTERM is heeded. Needs a running tokio runtime.
    pub fn open(config: Config, mount: &Mount, client: &str) -> Result<Self, ProcessError> {
        let stop = shutdown::signal();
        let config = Arc::new(config);
        let store = Store::connect(&config, mount)?;
        let broker = Broker::mounted(mount, client)?;
        let ttl = Duration::from_secs(config.analysis.result_ttl_seconds);
        let cache = Cache::mounted(mount, ttl)?;
        let mut registry = Registry::default();
        processor::register(&mut registry);
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

    /// Runs jobs until SIGTERM, or until it holds nearly all the memory that it may; lets those that run finish within the grace time, and hands the rest back.
    ///
    /// `health` tells what is wrong with the work itself, such that a restart may mend it: it is part of both probes and has to answer at once.
    pub async fn run<H>(self, options: &Options, handler: Arc<dyn Handler>, health: H) -> Result<(), ProcessError>
    where
        H: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
    {
        let Self { config, cache, mut registry, breakers: _, store, broker, stop } = self;
        let readiness = readiness(store.clone(), broker.clone(), health);
        let memory_limit = options.memory_limit_bytes.or_else(cgroup::memory);
        let memory = Memory::register(&mut registry, memory_limit);
        let recoveries = Recoveries::register(&mut registry);
        let runner = Runner {
            config: config.clone(),
            store: store.clone(),
            broker: broker.clone(),
            cache,
            metrics: runner::Metrics::register(&mut registry),
            timing: Timing { grace: Duration::from_secs(options.grace_seconds), ..Timing::default() },
            memory_limit,
        };
        let served = CancellationToken::new();
        let probes = ops::serve(options.operations_listen, Arc::new(registry), readiness.clone(), served.child_token());
        let work = async {
            readiness.set(true);
            let drained = runner.run(handler, stop.clone()).await;
            broker.close().await;
            served.cancel();
            Ok::<_, ProcessError>(drained?)
        };
        let watched = async {
            // The stop that it fires is the one of a signal.
            let evidence =
                tokio::select! { evidence = memory.watch(&stop) => evidence, () = served.cancelled() => None };
            if let (Some(evidence), Workload::Pool { name, .. }) = (evidence, &config.workload) {
                recoveries.count(Action::MemoryDrain);
                let worker = worker_name(name);
                let told = store.recovered(Action::MemoryDrain, &worker, &evidence);
                if let Err(error) = deadline::scope(Instant::now() + TELLING, told).await {
                    tracing::debug!(%error, "the drain is told by the log alone");
                }
            }
            Ok(())
        };
        let draining = async {
            // Whoever asks while jobs finish hears that no more are wanted; an end without a signal has nobody to tell.
            tokio::select! { () = stop.cancelled() => readiness.set(false), () = served.cancelled() => {} }
            Ok(())
        };
        tokio::try_join!(async { Ok(probes.await?) }, work, draining, watched)?;
        trace::export::flush().await;
        tracing::info!("ended in good order");
        Ok(())
    }
}

/// Ready while jobs can be had and done: with the database, which holds them, the broker, which tells of them, and the work's own health. Alive
/// with the last alone.
fn readiness<H>(store: Store, broker: Broker, health: H) -> Readiness
where
    H: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
{
    let live = health.clone();
    Readiness::new()
        .with_check(move || {
            let (store, broker, health) = (store.clone(), broker.clone(), health.clone());
            async move {
                health()?;
                store.ping().await.map_err(|error| error.to_string())?;
                if broker.is_connected() { Ok(()) } else { Err("not connected to the broker".to_owned()) }
            }
        })
        .with_live_check(move || {
            let health = live.clone();
            async move { health() }
        })
}
