//! The API process from its start to its graceful shutdown.

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
    events::Hub,
    maintenance,
    recovery::Recoveries,
    resilience::Breakers,
    service::{
        cgroup,
        connections::Connections,
        cpu,
        memory::MemoryMonitor,
        probes::{self, Probes},
        shutdown,
    },
    store::Store,
    trace,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{
        admin_key::AdminKey,
        authenticator::Authenticator,
        key_cache::KeyCache,
        rate_limit::{Rate, RateLimiter},
        unknown_keys::UnknownKeyLimiter,
    },
    http::{
        concurrency::{ConcurrencyLimiter, StreamLimiter},
        layers::RequestContext,
        metrics::HttpMetrics,
        server,
    },
    operations::{self, platform_metrics::PlatformMetrics, platform_snapshot::SnapshotCache},
    router,
    state::{App, AppState},
};

/// How often the file of the admin key is checked.
const ADMIN_KEY_INTERVAL: Duration = Duration::from_secs(5);

/// How long a request waits for a permit among the requests in flight.
const PERMIT_WAIT: Duration = Duration::from_secs(1);

/// Time for WebSockets to close after the last response.
const SOCKET_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Options of the server.
#[derive(Debug, Parser)]
pub struct Options {
    /// Address of the API.
    #[arg(long, env = "SWITCHYARD_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], API_PORT)))]
    listen: SocketAddr,
    /// Address of the probes and the metrics.
    #[arg(long, env = "SWITCHYARD_OPERATIONS_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], OPERATIONS_PORT)))]
    operations_listen: SocketAddr,
    /// Seconds from "not ready" to the last accepted connection, so that endpoints drop this
    /// process first.
    #[arg(long, env = "SWITCHYARD_DRAIN_SECONDS", default_value_t = 5)]
    drain_seconds: u64,
    /// Seconds for open requests to finish after that.
    #[arg(long, env = "SWITCHYARD_GRACE_SECONDS", default_value_t = 15)]
    grace_seconds: u64,
    /// Calls a second of one tenant on average.
    #[arg(long, env = "SWITCHYARD_RATE_PER_SECOND", default_value_t = Rate::default().per_second)]
    rate_per_second: f64,
    /// Calls of one tenant at once.
    #[arg(long, env = "SWITCHYARD_RATE_BURST", default_value_t = Rate::default().burst)]
    rate_burst: u32,
    /// Database queries a second for keys that turn out to be invalid; beyond them, calls with
    /// unknown keys answer 429.
    #[arg(long, env = "SWITCHYARD_UNKNOWN_KEYS_PER_SECOND", default_value_t = 100)]
    unknown_keys_per_second: u32,
    /// Requests in flight; others wait up to a second and then answer 503.
    #[arg(long, env = "SWITCHYARD_IN_FLIGHT", default_value_t = 512)]
    in_flight: usize,
    /// Open event streams.
    #[arg(long, env = "SWITCHYARD_WATCHES", default_value_t = 10_000)]
    watches: usize,
    /// Open event streams of one tenant.
    #[arg(long, env = "SWITCHYARD_WATCHES_PER_TENANT", default_value_t = 1_000)]
    watches_per_tenant: usize,
    /// Threads of the server.
    #[arg(long, env = "SWITCHYARD_THREADS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
}

/// The sockets of the process.
pub struct Listeners {
    /// The API.
    pub api: TcpListener,
    /// Probes and metrics.
    pub operations: TcpListener,
}

impl Listeners {
    async fn bind(options: &Options) -> anyhow::Result<Self> {
        let bind = async |address: SocketAddr, purpose: &str| {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|error| anyhow::anyhow!("cannot listen on {address} for {purpose}: {error}"))
        };
        Ok(Self {
            api: bind(options.listen, "the API").await?,
            operations: bind(options.operations_listen, "probes and metrics").await?,
        })
    }
}

/// Ready from the first answer of the database on. A later outage concerns every process, and the
/// cache and the replicas still answer some requests.
fn readiness(store: Store) -> Probes {
    let reached = Arc::new(AtomicBool::new(false));
    Probes::new().with_readiness_check(move || {
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

/// Serves until SIGTERM or SIGINT, and shuts down gracefully.
///
/// # Errors
/// If a socket cannot be bound, or as [`until`].
pub async fn run(options: Options, mount: &Mount) -> anyhow::Result<()> {
    let stop = shutdown::signal();
    let listeners = Listeners::bind(&options).await?;
    until(stop, &options, mount, listeners).await
}

/// Serves until `asked_to_stop`, and shuts down gracefully.
///
/// # Errors
/// If the mounted configuration or a Secret is invalid.
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

    let limiter = Arc::new(ConcurrencyLimiter::new(options.in_flight, PERMIT_WAIT));
    let mut registry = Registry::default();
    cpu::register(&mut registry);
    let metrics = HttpMetrics::register(&mut registry);
    let breakers = Breakers::register(&mut registry);
    let stores = [store.breaker()].into_iter().chain(store.replica_breakers());
    stores.chain([cache.breaker()]).for_each(|breaker| breakers.add(breaker.clone()));
    let snapshots = SnapshotCache::new(store.clone(), broker.clone(), cache.clone());
    let connections = Connections { store: store.clone(), broker: broker.clone(), cache: cache.clone() };
    registry.register_collector(Box::new(connections));
    registry.register_collector(Box::new(PlatformMetrics { snapshots: snapshots.clone(), limiter: limiter.clone() }));
    let recoveries = Recoveries::register(&mut registry);
    let memory = MemoryMonitor::register(&mut registry, cgroup::memory_limit());
    if let Some(telemetry) = &config.telemetry {
        trace::export::start(telemetry, "switchyard-api", &config.platform.name);
    }

    let announcer = Announcer::start(broker.clone());
    let hub = Hub::start(store.clone(), broker.clone());
    let (streams_end, sockets) = (CancellationToken::new(), TaskTracker::new());
    let authenticator = authenticator(options, store.clone(), cache.clone(), admin_key.clone());
    let app = App::new(AppState {
        store: store.clone(),
        announcer: announcer.clone(),
        cache,
        hub,
        snapshots: snapshots.clone(),
        auth: Arc::new(authenticator),
        streams: StreamLimiter::new(options.watches, options.watches_per_tenant),
        requests: RequestContext { limiter, database: store.breaker().clone(), metrics },
        streams_end: streams_end.clone(),
        sockets: sockets.clone(),
        document: router::document().to_json()?.into(),
    });

    let background = CancellationToken::new();
    let readiness = readiness(store.clone());
    let operations = tokio::spawn(server::serve(
        listeners.operations,
        probes::router(Arc::new(registry), readiness.clone()).merge(operations::routes::router(snapshots.clone())),
        background.clone(),
        Duration::from_secs(1),
    ));
    let follower = tokio::spawn(admin_key.follow(mount.clone(), ADMIN_KEY_INTERVAL, background.clone()));
    let upkeep = tokio::spawn(maintenance::run(
        store,
        broker.clone(),
        announcer.clone(),
        maintenance::Policy { quarantine_jobs: config.recovery.quarantine_jobs, ..Default::default() },
        recoveries,
        background.clone(),
    ));
    let stop = background.clone();
    let observers = tokio::spawn(async move {
        tokio::join!(stop.run_until_cancelled(snapshots.run()), stop.run_until_cancelled(memory.report()))
    });

    tracing::info!(address = %listeners.api.local_addr()?, "serving");
    readiness.set_ready(true);
    let stop_accepting = CancellationToken::new();
    let serving = server::serve(
        listeners.api,
        router::service(app),
        stop_accepting.clone(),
        Duration::from_secs(options.grace_seconds),
    );
    let drain = async {
        asked_to_stop.cancelled().await;
        readiness.set_ready(false);
        tracing::info!(seconds = options.drain_seconds, "draining");
        tokio::time::sleep(Duration::from_secs(options.drain_seconds)).await;
        streams_end.cancel();
        stop_accepting.cancel();
    };
    let (served, ()) = tokio::join!(serving, drain);
    served?;
    sockets.close();
    if tokio::time::timeout(SOCKET_CLOSE_TIMEOUT, sockets.wait()).await.is_err() {
        tracing::warn!(open = sockets.len(), "some WebSockets did not close in time");
    }

    announcer.flush().await;
    background.cancel();
    follower.await?;
    upkeep.await?;
    observers.await?;
    operations.await??;
    broker.close().await;
    trace::export::flush().await;
    tracing::info!("shut down");
    Ok(())
}

fn authenticator(options: &Options, store: Store, cache: Cache, admin_key: AdminKey) -> Authenticator {
    let rate = Rate { per_second: options.rate_per_second, burst: options.rate_burst };
    Authenticator {
        store,
        admin_key,
        rate_limiter: RateLimiter::new(cache, rate),
        keys: KeyCache::default(),
        unknown_keys: UnknownKeyLimiter::new(options.unknown_keys_per_second),
    }
}
