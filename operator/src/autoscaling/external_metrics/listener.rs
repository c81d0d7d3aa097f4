//! Connections: TLS with a client's certificate, of which both sides may change while it runs.

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

use crate::autoscaling::external_metrics::{certificate, options::Options, reviewer::Asker, trust::Trust};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections at once; the API server needs a handful.
const CONNECTIONS: usize = 64;
/// How often the certificates of both sides are read again.
const RELOAD: Duration = Duration::from_secs(60);
/// How soon after a failure.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Terms {
    acceptor: TlsAcceptor,
    trust: Arc<Trust>,
}

/// Takes connections until `shutdown`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn listen(
    client: Client,
    options: &Options,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&options.address)
        .await
        .with_context(|| format!("cannot listen on {} for metrics of autoscalers", options.address))?;
    let (newest, terms) = watch::channel(None);
    let reading = read_terms(client, options, newest);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file handles, most likely.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Some(terms): Option<Terms> = terms.borrow().clone() else { continue };
            let (router, shutdown) = (router.clone(), shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = converse(stream, terms, router) => {}
                    () = shutdown.cancelled() => {}
                }
                drop(place);
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

async fn read_terms(client: Client, options: &Options, newest: watch::Sender<Option<Terms>>) {
    let mut last = None;
    loop {
        let read = async {
            let pair = certificate::read(&client, options).await?;
            let trust = Trust::read(&client).await?;
            anyhow::Ok((pair, trust))
        };
        let wait = match read.await {
            Ok(read) if last.as_ref() == Some(&read) => RELOAD,
            Ok((pair, trust)) => match terms(&pair, &trust) {
                Ok(terms) => {
                    newest.send_replace(Some(terms));
                    last = Some((pair, trust));
                    tracing::info!("serving metrics to autoscalers");
                    RELOAD
                }
                Err(error) => {
                    tracing::warn!(%error, "no metrics for autoscalers");
                    RELOAD
                }
            },
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "no certificates yet for the metrics of autoscalers");
                RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn terms(pair: &certificate::Pair, trust: &Trust) -> anyhow::Result<Terms> {
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(trust.verifier()?)
        .with_single_cert(pair.chain()?, pair.key()?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Terms { acceptor: TlsAcceptor::from(Arc::new(config)), trust: Arc::new(trust.clone()) })
}

async fn converse(stream: TcpStream, terms: Terms, router: Router) {
    let Ok(Ok(stream)) = timeout(HANDSHAKE, terms.acceptor.accept(stream)).await else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    if !certificates.and_then(<[_]>::first).is_some_and(|certificate| terms.trust.vouches(certificate)) {
        tracing::warn!("somebody else than the API server asked for metrics");
        return;
    }
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            if let Some(asker) = Asker::of(request.headers()) {
                request.extensions_mut().insert(asker);
            }
            router.oneshot(request).await
        }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HANDSHAKE);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await {
        tracing::debug!(%error, "a connection for metrics ended badly");
    }
}
