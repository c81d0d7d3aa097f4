//! The API process from start to end.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use prometheus_client::registry::Registry;
use switchyard_contract::{API_PORT, Config, Mount, OPERATIONS_PORT};
use switchyard_jobs::{
    announce::Announcer,
    broker::Broker,
    cache::Cache,
    cgroup,
    connections::Connections,
    events::Hub,
    maintenance,
    memory::Memory,
    ops::{self, Readiness},
    processor,
    recovery::Recoveries,
    resilience::collector::Breakers,
    shutdown,
    store::Store,
    trace,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::admin_key::AdminKey,
    auth::key_cache::Strangers,
    auth::rate_limit::{Rate, RateLimiter},
    http::concurrency::{Gate, Watches},
    http::metrics::HttpMetrics,
    http::server,
    operations::platform_metrics::PlatformMetrics,
    operations::platform_snapshot::{self, Facts},
    router,
    state::{App, Parts},
};

/// How often the admin key's file is looked at.
const LOOK_AT_ADMIN_KEY: Duration = Duration::from_secs(5);

/// How long a request waits for a place among those that are worked on.
const PLACE_PATIENCE: Duration = Duration::from_secs(1);

/// How long WebSockets have to close after the last request was answered.
const FAREWELL: Duration = Duration::from_secs(2);

/// How to serve.
#[derive(Debug, Parser)]
pub struct Options {
    /// Where callers are answered.
    #[arg(long, env = "SWITCHYARD_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], API_PORT)))]
    listen: SocketAddr,
    /// Where probes and metrics are answered.
    #[arg(long, env = "SWITCHYARD_OPERATIONS_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], OPERATIONS_PORT)))]
    operations_listen: SocketAddr,
    /// Seconds between "not ready any more" and taking no more connections, for endpoints to drop this process.
    #[arg(long, env = "SWITCHYARD_DRAIN_SECONDS", default_value_t = 5)]
    drain_seconds: u64,
    /// Seconds that open requests have to finish after that.
    #[arg(long, env = "SWITCHYARD_GRACE_SECONDS", default_value_t = 15)]
    grace_seconds: u64,
    /// Calls a second that one tenant may make in the long run.
    #[arg(long, env = "SWITCHYARD_RATE_PER_SECOND", default_value_t = Rate::default().per_second)]
    rate_per_second: f64,
    /// Calls that one tenant may make at once.
    #[arg(long, env = "SWITCHYARD_RATE_BURST", default_value_t = Rate::default().burst)]
    rate_burst: u32,
    /// Calls a second with keys that turn out to be wrong, for which the database is asked; past them unknown keys are asked to come back.
    #[arg(long, env = "SWITCHYARD_UNKNOWN_KEYS_PER_SECOND", default_value_t = 100)]
    unknown_keys_per_second: u32,
    /// Requests that are worked on at once; others wait a second for a place and are then asked to come back.
    #[arg(long, env = "SWITCHYARD_IN_FLIGHT", default_value_t = 512)]
    in_flight: usize,
    /// Jobs that are watched at once.
    #[arg(long, env = "SWITCHYARD_WATCHES", default_value_t = 10_000)]
    watches: usize,
    /// Jobs that one tenant watches at once.
    #[arg(long, env = "SWITCHYARD_WATCHES_PER_TENANT", default_value_t = 1_000)]
    watches_per_tenant: usize,
    /// Threads that answer.
    #[arg(long, env = "SWITCHYARD_THREADS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
}

/// The sockets that the process answers on.
pub struct Listeners {
    pub callers: TcpListener,
    /// Probes and metrics.
    pub operations: TcpListener,
}

impl Listeners {
    async fn bind(options: &Options) -> anyhow::Result<Self> {
        let bind = async |address: SocketAddr, whom: &str| {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|error| anyhow::anyhow!("cannot listen on {address} for {whom}: {error}"))
        };
        Ok(Self {
            callers: bind(options.listen, "callers").await?,
            operations: bind(options.operations_listen, "probes and metrics").await?,
        })
    }
}

/// Ready once the database has answered, and from then on: a database that is away is away for every process, and somebody has to answer what the
/// cache and the replicas can, and the rest with when to come back.
fn readiness(store: Store) -> Readiness {
    let reached = Arc::new(AtomicBool::new(false));
    Readiness::new().with_check(move || {
        let (store, reached) = (store.clone(), reached.clone());
        async move {
            if !reached.load(Ordering::Relaxed) {
                store.ping().await.map_err(|error| error.to_string())?;
                reached.store(true, Ordering::Relaxed);
            }
            Ok(())
        }
    })
}

/// Serves until SIGTERM or SIGINT, and then until the open requests are answered.
pub async fn run(options: Options, mount: &Mount) -> anyhow::Result<()> {
    let stop = shutdown::signal();
    let listeners = Listeners::bind(&options).await?;
    until(stop, &options, mount, listeners).await
}

/// Serves until `asked_to_stop`, and then until the open requests are answered.
pub async fn until(
    asked_to_stop: CancellationToken,
    options: &Options,
    mount: &Mount,
    listeners: Listeners,
) -> anyhow::Result<()> {
    let config = Config::load(mount)?;
    let store = Store::connect(&config, mount)?;
    let broker = Broker::mounted(mount, "switchyard-api")?;
    let ttl = Duration::from_secs(config.analysis.result_ttl_seconds);
    let cache = Cache::mounted(mount, ttl)?;
    let admin_key = AdminKey::load(mount)?;

    let gate = Arc::new(Gate::new(options.in_flight, PLACE_PATIENCE));
    let mut registry = Registry::default();
    processor::register(&mut registry);
    let metrics = HttpMetrics::register(&mut registry);
    let breakers = Breakers::register(&mut registry);
    let stores = [store.breaker()].into_iter().chain(store.replica_breakers());
    stores.chain([cache.breaker()]).for_each(|breaker| breakers.add(breaker.clone()));
    let facts = Facts::new(store.clone(), broker.clone(), cache.clone());
    let connections = Connections { store: store.clone(), broker: broker.clone(), cache: cache.clone() };
    registry.register_collector(Box::new(connections));
    registry.register_collector(Box::new(PlatformMetrics { facts: facts.clone(), gate: gate.clone() }));
    let recoveries = Recoveries::register(&mut registry);
    let memory = Memory::register(&mut registry, cgroup::memory());
    if let Some(telemetry) = &config.telemetry {
        trace::export::start(telemetry, "switchyard-api", &config.platform.name);
    }

    let announcer = Announcer::start(broker.clone());
    let hub = Hub::start(store.clone(), broker.clone());
    let (streams_end, sockets) = (CancellationToken::new(), TaskTracker::new());
    let rate = Rate { per_second: options.rate_per_second, burst: options.rate_burst };
    let app = App::new(Parts {
        store: store.clone(),
        announcer: announcer.clone(),
        cache: cache.clone(),
        hub,
        facts: facts.clone(),
        admin_key: admin_key.clone(),
        limiter: RateLimiter::new(cache, rate),
        identities: Default::default(),
        strangers: Strangers::new(options.unknown_keys_per_second),
        gate,
        watches: Watches::new(options.watches, options.watches_per_tenant),
        metrics,
        streams_end: streams_end.clone(),
        sockets: sockets.clone(),
        document: router::document().to_json()?.into(),
    });

    let background = CancellationToken::new();
    let readiness = readiness(store.clone());
    let operations = tokio::spawn(server::serve(
        listeners.operations,
        ops::router(Arc::new(registry), readiness.clone()).merge(facts::router(facts.clone())),
        background.clone(),
        Duration::from_secs(1),
    ));
    let follower = tokio::spawn(admin_key.follow(mount.clone(), LOOK_AT_ADMIN_KEY, background.clone()));
    let upkeep = tokio::spawn(maintenance::run(
        store,
        broker.clone(),
        announcer.clone(),
        maintenance::Policy { quarantine_jobs: config.recovery.quarantine_jobs, ..Default::default() },
        recoveries,
        background.clone(),
    ));
    let looking = background.clone();
    let looks = tokio::spawn(async move {
        tokio::join!(looking.run_until_cancelled(facts.keep()), looking.run_until_cancelled(memory.show()))
    });

    tracing::info!(address = %listeners.callers.local_addr()?, "answering");
    readiness.set(true);
    let stop_accepting = CancellationToken::new();
    let serving = server::serve(
        listeners.callers,
        router::service(app),
        stop_accepting.clone(),
        Duration::from_secs(options.grace_seconds),
    );
    let drain = async {
        asked_to_stop.cancelled().await;
        readiness.set(false);
        tracing::info!(seconds = options.drain_seconds, "draining");
        tokio::time::sleep(Duration::from_secs(options.drain_seconds)).await;
        streams_end.cancel();
        stop_accepting.cancel();
    };
    let (served, ()) = tokio::join!(serving, drain);
    served?;
    sockets.close();
    if tokio::time::timeout(FAREWELL, sockets.wait()).await.is_err() {
        tracing::warn!(open = sockets.len(), "some WebSockets did not close in time");
    }

    announcer.flush().await;
    background.cancel();
    follower.await?;
    upkeep.await?;
    looks.await?;
    operations.await??;
    broker.close().await;
    trace::export::flush().await;
    tracing::info!("ended in good order");
    Ok(())
}
