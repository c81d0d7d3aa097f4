//! `switchyard-operator run`.

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
    /// Watch this namespace alone; left out, all of them.
    #[arg(long, env = "SWITCHYARD_NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespace of the Lease that the instances elect their leader by.
    #[arg(long, env = "SWITCHYARD_LEASE_NAMESPACE", default_value = "switchyard-system")]
    pub lease_namespace: String,
    /// Name of that Lease.
    #[arg(long, env = "SWITCHYARD_LEASE_NAME", default_value = "switchyard-operator")]
    pub lease_name: String,
    /// Name of this instance, for instance the pod's. A random ending is added to it.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Where to serve /livez, /readyz and /metrics.
    #[arg(long, env = "SWITCHYARD_OPERATIONS_ADDRESS", default_value = "0.0.0.0:8081")]
    pub operations_address: String,
    /// Where to serve the external-metrics API, by which the cluster's autoscalers learn how many pods a pool should have; left out, nowhere.
    #[arg(long, env = "SWITCHYARD_EXTERNAL_METRICS_ADDRESS", requires = "external_metrics_service")]
    pub external_metrics_address: Option<String>,
    /// Service that leads there, in the namespace of the Lease. A Secret of its name keeps the certificate.
    #[arg(long, env = "SWITCHYARD_EXTERNAL_METRICS_SERVICE")]
    pub external_metrics_service: Option<String>,
    /// Where to answer KEDA as an external scaler; left out, nowhere.
    #[arg(long, env = "SWITCHYARD_KEDA_ADDRESS")]
    pub keda_address: Option<String>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When there is no cluster to talk to or the operations port is taken.
pub async fn run(options: Options) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,kube_client=warn".into()),
        )
        .init();
    let config = Config::infer()
        .await
        .context("no cluster to talk to: run in a pod with a service account, or set KUBECONFIG")?;
    // Another for each process: one that is started anew in the same pod must not take the lease for its own while writes of the old one are on their way.
    let name = options.identity.as_deref().unwrap_or("switchyard-operator");
    let identity = format!("{name}_{:08x}", rand::random::<u32>());
    let fence = Fence::default();
    let (cache, writers) = WatchCache::new();
    let healths = Healths::default();
    let metrics = Metrics::showing(StateMetrics { cache: cache.clone(), healths: healths.clone() });
    let (heartbeat, shutdown) = (Heartbeat::default(), CancellationToken::new());
    let (election, client) = (connect(&config, &metrics, None)?, connect(&config, &metrics, Some(fence.clone()))?);
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

    let serving = tokio::spawn({
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
            terminated().await;
            tracing::info!("stopping");
            shutdown.cancel();
        }
    });

    let autoscalers = autoscalers(&options);
    let desired = DesiredReplicas { platform_client, cache: cache.clone() };
    if let Some(address) = options.keda_address.clone().filter(|address| !address.is_empty()) {
        let (desired, shutdown) = (desired.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Err(error) = keda::serve(desired, &address, shutdown.clone()).await {
                tracing::error!(error = format!("{error:#}"), "KEDA is not served");
                shutdown.cancel();
            }
        });
    }
    if let Some(autoscalers) = autoscalers.clone() {
        // Whether somebody may read the metric is asked by every instance, so not through the fence.
        let (client, shutdown) = (election.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Err(error) = external_metrics::server::serve(client, desired, &autoscalers, shutdown.clone()).await {
                tracing::error!(error = format!("{error:#}"), "autoscalers get no metrics");
                shutdown.cancel();
            }
        });
    }
    let certificate = || async {
        match &autoscalers {
            Some(autoscalers) => external_metrics::certificate::keep(client.clone(), autoscalers).await,
            None => std::future::pending().await,
        }
    };
    Candidate::new(election, &options.lease_namespace, &options.lease_name, &identity, fence)
        .lead(&metrics, &heartbeat, &shutdown, || async {
            cache.resync().await;
            let (platforms, pools) = cache.subscribe();
            let platforms = controller::run(context.clone(), platforms);
            let pools = controller::run(context.clone(), pools);
            let recovery = recovery::run(context.clone());
            futures::future::join4(platforms, pools, certificate(), recovery).await;
        })
        .await;
    shutdown.cancel();
    serving.await.context("the operations server failed")?
}

fn autoscalers(options: &Options) -> Option<external_metrics::options::Options> {
    Some(external_metrics::options::Options {
        address: options.external_metrics_address.clone().filter(|address| !address.is_empty())?,
        namespace: options.lease_namespace.clone(),
        service: options.external_metrics_service.clone()?,
    })
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
