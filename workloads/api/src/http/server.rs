//! Accepting connections, and ending without dropping a request.

use std::{convert::Infallible, io, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How long a client may take to send the head of a request; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Serves `router` until `stop`; then takes no more connections, lets open requests finish for at most `grace`, and returns.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, grace: Duration) -> io::Result<()> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(30)));
    let open = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // Out of file descriptors, most likely; accepting again at once would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let connection = builder.serve_connection_with_upgrades(prepared(stream), service(router.clone()));
        let connection = open.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, open.shutdown()).await.is_err() {
        tracing::warn!(seconds = grace.as_secs(), "some requests did not finish within the grace time");
    }
    Ok(())
}

fn prepared(stream: TcpStream) -> TokioIo<TcpStream> {
    // Answers are small: waiting for a full packet would only add latency.
    let _ = stream.set_nodelay(true);
    TokioIo::new(stream)
}

/// The router as hyper calls it.
fn service(
    router: Router,
) -> TowerToHyperService<
    impl Service<Request<hyper::body::Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send,
> {
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        async move { Service::<Request>::call(&mut router, request.map(Body::new)).await }
    });
    TowerToHyperService::new(service)
}
