//! Listens with mutual TLS, and reloads the certificates of both sides.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::{Router, body::Body, http::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use kube::Client;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::autoscaling::external_metrics::{certificate, options::Options, reviewer::Requester, trust::Trust};

/// Timeout of a TLS handshake, and of reading the headers of a request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Concurrent connections. The API server needs a handful.
const MAX_CONNECTIONS: usize = 64;
/// How often the certificates of both sides are reloaded.
const RELOAD_INTERVAL: Duration = Duration::from_mins(1);
/// Pause after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Configuration of the TLS server.
#[derive(Clone)]
struct TlsConfig {
    acceptor: TlsAcceptor,
    trust: Arc<Trust>,
}

/// Accepts connections until `shutdown`.
///
/// # Errors
/// If the address cannot be bound.
pub async fn listen(
    client: Client,
    options: &Options,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&options.address)
        .await
        .with_context(|| format!("cannot listen on {} for external metrics", options.address))?;
    let (newest, tls) = watch::channel(None);
    let reading = reload_tls(client, options, newest);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Most likely out of file descriptors.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Some(tls): Option<TlsConfig> = tls.borrow().clone() else { continue };
            let (router, shutdown) = (router.clone(), shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = serve_connection(stream, tls, router) => {}
                    () = shutdown.cancelled() => {}
                }
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = reading => {}
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

async fn reload_tls(client: Client, options: &Options, newest: watch::Sender<Option<TlsConfig>>) {
    let mut last = None;
    loop {
        let read = async {
            let pair = certificate::read(&client, options).await?;
            let trust = Trust::read(&client).await?;
            anyhow::Ok((pair, trust))
        };
        let wait = match read.await {
            Ok(read) if last.as_ref() == Some(&read) => RELOAD_INTERVAL,
            Ok((pair, trust)) => match tls(&pair, &trust) {
                Ok(tls) => {
                    newest.send_replace(Some(tls));
                    last = Some((pair, trust));
                    tracing::info!("serving external metrics");
                    RELOAD_INTERVAL
                }
                Err(error) => {
                    tracing::warn!(%error, "could not load certificates of external metrics");
                    RELOAD_INTERVAL
                }
            },
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "could not read certificates of external metrics");
                RETRY_INTERVAL
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn tls(pair: &certificate::Pair, trust: &Trust) -> anyhow::Result<TlsConfig> {
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(trust.verifier()?)
        .with_single_cert(pair.chain()?, pair.key()?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConfig { acceptor: TlsAcceptor::from(Arc::new(config)), trust: Arc::new(trust.clone()) })
}

async fn serve_connection(stream: TcpStream, tls: TlsConfig, router: Router) {
    let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, tls.acceptor.accept(stream)).await else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    if !certificates.and_then(<[_]>::first).is_some_and(|certificate| tls.trust.is_trusted(certificate)) {
        tracing::warn!("refused client other than the API server");
        return;
    }
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            if let Some(requester) = Requester::of(request.headers()) {
                request.extensions_mut().insert(requester);
            }
            router.oneshot(request).await
        }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await {
        tracing::debug!(%error, "could not serve connection of external metrics");
    }
}
