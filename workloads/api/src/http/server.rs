//! Serves HTTP/1.1 and HTTP/2 connections, with a graceful shutdown.

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

/// Time for the head of a request; also the time that an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Serves `router` until `stop`. Then it accepts no more connections and waits up to `grace` for
/// the open requests.
///
/// # Errors
/// None today; the result is that of a server.
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
                    tracing::warn!(%error, "could not accept a connection");
                    // Most likely out of file descriptors: accepting again at once would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let connection = builder.serve_connection_with_upgrades(connection_io(stream), service(router.clone()));
        let connection = open.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended with an error");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, open.shutdown()).await.is_err() {
        tracing::warn!(seconds = grace.as_secs(), "some requests did not finish within the grace period");
    }
    Ok(())
}

fn connection_io(stream: TcpStream) -> TokioIo<TcpStream> {
    // Responses are small: Nagle's algorithm would only add latency.
    let _ = stream.set_nodelay(true);
    TokioIo::new(stream)
}

/// The router as a service of hyper.
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
