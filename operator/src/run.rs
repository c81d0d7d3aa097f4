//! The command `switchyard-operator run`.

use anyhow::Context as _;
use clap::Args;
use kube::Config;
use tokio_util::sync::CancellationToken;

use crate::{
    autoscaling::{desired_replicas::DesiredReplicas, external_metrics, keda, platform_client::PlatformClient},
    controllers::{context::Context, controller, health::Healths, recovery, state_metrics::StateMetrics},
    kubernetes::{cache::store::WatchCache, client::connect, leader_election::Candidate, write_fence::Fence},
    spec::images::Images,
    telemetry::{heartbeat::Heartbeat, http, metrics::Metrics},
};

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub images: Images,
    /// Namespace to watch. All namespaces by default.
    #[arg(long, env = "SWITCHYARD_NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespace of the Lease for leader election.
    #[arg(long, env = "SWITCHYARD_LEASE_NAMESPACE", default_value = "switchyard-system")]
    pub lease_namespace: String,
    /// Name of the Lease for leader election.
    #[arg(long, env = "SWITCHYARD_LEASE_NAME", default_value = "switchyard-operator")]
    pub lease_name: String,
    /// Name of this instance, usually that of its pod. A random suffix is added.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "SWITCHYARD_OPERATIONS_ADDRESS", default_value = "0.0.0.0:8081")]
    pub operations_address: String,
    /// Address of the external metrics API, which serves desired replicas to
    /// HorizontalPodAutoscalers. Disabled by default.
    #[arg(long, env = "SWITCHYARD_EXTERNAL_METRICS_ADDRESS", requires = "external_metrics_service")]
    pub external_metrics_address: Option<String>,
    /// Service of that address, in the namespace of the Lease. A Secret of the same name holds the
    /// certificate.
    #[arg(long, env = "SWITCHYARD_EXTERNAL_METRICS_SERVICE")]
    pub external_metrics_service: Option<String>,
    /// Address of the external scaler for KEDA. Disabled by default.
    #[arg(long, env = "SWITCHYARD_KEDA_ADDRESS")]
    pub keda_address: Option<String>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If no cluster is configured, or the operations address cannot be bound.
pub async fn run(options: Options) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,kube_client=warn".into()),
        )
        .init();
    let config = Config::infer().await.context("no cluster: run in a pod with a service account, or set KUBECONFIG")?;
    // Unique to the process: a restarted process in the same pod must not take over the lease while
    // writes of its predecessor are in flight.
    let name = options.identity.as_deref().unwrap_or("switchyard-operator");
    let identity = format!("{name}_{:08x}", rand::random::<u32>());
    let fence = Fence::default();
    let (cache, writers) = WatchCache::new();
    let healths = Healths::default();
    let metrics = Metrics::with_collector(StateMetrics { cache: cache.clone(), healths: healths.clone() });
    let (heartbeat, shutdown) = (Heartbeat::default(), CancellationToken::new());
    let (election_client, client) =
        (connect(&config, &metrics, None)?, connect(&config, &metrics, Some(fence.clone()))?);
    let namespace = options.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let platform_client = PlatformClient::new();
    let context = Context::new(
        client.clone(),
        cache.clone(),
        options.images.clone(),
        metrics.clone(),
        platform_client.clone(),
        healths,
        &identity,
    );
    tokio::spawn({
        let (cache, client, namespace) = (cache.clone(), client.clone(), namespace.map(str::to_owned));
        async move { cache.run(&client, namespace.as_deref(), writers).await }
    });

    let operations = tokio::spawn({
        let (address, metrics, heartbeat, shutdown) =
            (options.operations_address.clone(), metrics.clone(), heartbeat.clone(), shutdown.clone());
        async move {
            let result = http::serve(&address, metrics, heartbeat, shutdown.clone()).await;
            shutdown.cancel();
            result
        }
    });
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            termination_signal().await;
            tracing::info!("shutting down");
            shutdown.cancel();
        }
    });

    let metrics_options = external_metrics_options(&options);
    let desired = DesiredReplicas { platform_client, cache: cache.clone() };
    if let Some(address) = options.keda_address.clone().filter(|address| !address.is_empty()) {
        let (desired, shutdown) = (desired.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Err(error) = keda::serve(desired, &address, shutdown.clone()).await {
                tracing::error!(error = format!("{error:#}"), "could not serve KEDA scaler");
                shutdown.cancel();
            }
        });
    }
    if let Some(options) = metrics_options.clone() {
        // Every instance creates SubjectAccessReviews, standbys too, so they bypass the fence.
        let (client, shutdown) = (election_client.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Err(error) = external_metrics::server::serve(client, desired, &options, shutdown.clone()).await {
                tracing::error!(error = format!("{error:#}"), "could not serve external metrics");
                shutdown.cancel();
            }
        });
    }
    let certificate = || async {
        match &metrics_options {
            Some(options) => external_metrics::certificate::maintain(client.clone(), options).await,
            None => std::future::pending().await,
        }
    };
    let candidate = Candidate::new(election_client, &options.lease_namespace, &options.lease_name, &identity, fence);
    let led = candidate.lead(&metrics, &heartbeat, &shutdown, || async {
        cache.resync().await;
        let (platforms, pools) = cache.subscribe();
        let platforms = controller::run(context.clone(), platforms);
        let pools = controller::run(context.clone(), pools);
        let recovery = recovery::run(context.clone());
        futures::future::join4(platforms, pools, certificate(), recovery).await;
    });
    Box::pin(led).await;
    shutdown.cancel();
    operations.await.context("the operations server panicked")?
}

fn external_metrics_options(options: &Options) -> Option<external_metrics::options::Options> {
    Some(external_metrics::options::Options {
        address: options.external_metrics_address.clone().filter(|address| !address.is_empty())?,
        namespace: options.lease_namespace.clone(),
        service: options.external_metrics_service.clone()?,
    })
}

async fn termination_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
