//! The client of the API server: every call has a deadline, and writes go out only while the lease is held.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    body::{Body as Answer, Bytes, HttpBody, to_bytes},
    http::{Request, Response, Uri, uri::PathAndQuery},
};
use futures::future::BoxFuture;
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _, retry::RetryPolicy},
};
use tower::{BoxError, Service, ServiceBuilder, retry::RetryLayer};

use crate::{
    kubernetes::write_fence::{Fence, UNSENT},
    telemetry::metrics::Metrics,
};

/// The time that a call has that is no fenced write; of a watch, its beginning.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Why a call was not made, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// This instance does not hold the lease, or may not hold it any more.
    Fenced,
    /// There was no answer for this long.
    Silence(Duration),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => f.write_str("not sent: another instance may hold the lease"),
            Self::Silence(limit) => write!(f, "no answer for {} s", limit.as_secs_f32()),
        }
    }
}

impl std::error::Error for Stopped {}

/// A client of the cluster that `config` names. With a `fence` its writes go no further than that allows, and its calls are counted in `metrics`.
///
/// # Errors
/// When the configuration makes no client.
pub fn connect(config: &Config, metrics: &Metrics, fence: Option<Fence>) -> anyhow::Result<Client> {
    anyhow::ensure!(
        config.proxy_url.is_none(),
        "the API server cannot be reached through a proxy: unset HTTPS_PROXY and proxy-url"
    );
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(config.connect_timeout);
    tcp.set_tcp_user_timeout(Some(UNSENT));
    let connector = config.rustls_https_connector_with_connector(tcp).context("the certificates are of no use")?;
    let counted = fence.is_some().then(|| metrics.clone());
    let service = ServiceBuilder::new()
        .map_request(move |request: Request<Body>| {
            counted.iter().for_each(|metrics| metrics.called(request.method().as_str()));
            request
        })
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().context("the credentials are of no use")?)
        .layer(config.extra_headers_layer().context("the headers are of no use")?)
        .service(within_limits(Http::builder(TokioExecutor::new()).build(connector), fence));
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Calls over `transport` as the operator makes them. What the API server answers with 'later' (429, 503, 504) is tried again as it says, or after 5 ms,
/// doubled each time; each try has a deadline, and is fenced, of its own.
pub fn within_limits<S, B>(
    transport: S,
    fence: Option<Fence>,
) -> impl Service<Request<Body>, Response = Response<Answer>, Error = BoxError, Future: Send> + Clone + Send
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send, Error: Into<BoxError>> + Clone + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::server_retry())).service(Limits { transport, fence })
}

#[derive(Clone)]
struct Limits<S> {
    transport: S,
    fence: Option<Fence>,
}

impl<S, B> Service<Request<Body>> for Limits<S>
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send, Error: Into<BoxError>> + Clone + Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.transport.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that was asked whether it is ready.
        let other = self.transport.clone();
        let transport = std::mem::replace(&mut self.transport, other);
        match self.fence.clone().filter(|_| !request.method().is_safe()) {
            None => Box::pin(read(transport, request)),
            Some(fence) => Box::pin(write(transport, request, fence)),
        }
    }
}

async fn read<S, B>(mut transport: S, request: Request<Body>) -> Result<Response<Answer>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let watch = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    let call = async {
        let response = transport.call(request).await.map_err(Into::into)?.map(Answer::new);
        if watch { Ok(response) } else { whole(response).await }
    };
    tokio::time::timeout(DEADLINE, call).await.map_err(|_| Stopped::Silence(DEADLINE))?
}

async fn write<S, B>(mut transport: S, request: Request<Body>, fence: Fence) -> Result<Response<Answer>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let write = fence.begin().ok_or(Stopped::Fenced)?;
    let limit = write.left();
    let request = with_timeout(request, limit)?;
    let mut call = pin!(async { whole(transport.call(request).await.map_err(Into::into)?.map(Answer::new)).await });
    let mut late = pin!(tokio::time::sleep(limit));
    let response = poll_fn(|context| {
        // Looked at before the call goes on, not after: a process that stood still finds its connection made and its time over at one moment.
        if write.left().is_zero() || late.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Stopped::Silence(limit).into()));
        }
        call.as_mut().poll(context)
    })
    .await?;
    // Behind such an answer the work may go on.
    if !response.status().is_server_error() {
        write.answered();
    }
    Ok(response)
}

/// The response with all of its body.
async fn whole(response: Response<Answer>) -> Result<Response<Answer>, BoxError> {
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, Answer::from(to_bytes(body, usize::MAX).await?)))
}

/// The request with word to the API server to give it up after `limit`, wherever it is by then.
fn with_timeout(request: Request<Body>, limit: Duration) -> Result<Request<Body>, BoxError> {
    let (mut head, body) = request.into_parts();
    let mut parts = head.uri.into_parts();
    let path = parts.path_and_query.as_ref().map_or("/", PathAndQuery::as_str);
    let separator = if path.contains('?') { '&' } else { '?' };
    parts.path_and_query = Some(format!("{path}{separator}timeout={}ms", limit.as_millis()).parse()?);
    head.uri = Uri::from_parts(parts)?;
    Ok(Request::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::http::Method;
    use tokio::{sync::Notify, time::advance};
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::kubernetes::write_fence::{GIVE_UP, Moment};

    fn held() -> Fence {
        let fence = Fence::default();
        fence.renewed(Moment::now());
        fence
    }

    fn request(method: Method) -> Request<Body> {
        Request::builder().method(method).uri("/api/v1/things?a=b").body(Body::empty()).expect("a request")
    }

    fn why(result: Result<Response<Answer>, BoxError>) -> Option<Stopped> {
        result.err().and_then(|error| error.downcast_ref().cloned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_given_up_before_or_after_its_first_word() {
        let mute = service_fn(|_| std::future::pending::<Result<Response<Answer>, Infallible>>());
        let started = tokio::time::Instant::now();
        let result = within_limits(mute, None).oneshot(request(Method::GET)).await;
        assert_eq!((why(result), started.elapsed()), (Some(Stopped::Silence(DEADLINE)), DEADLINE));

        let half = service_fn(|_| async {
            let body = Answer::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
            Ok::<_, Infallible>(Response::new(body))
        });
        assert!(why(within_limits(half, None).oneshot(request(Method::GET)).await).is_some());
        let result = within_limits(half, Some(held())).oneshot(request(Method::PATCH)).await;
        assert!(matches!(why(result), Some(Stopped::Silence(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_is_told_how_long_a_write_may_take() {
        let echo = service_fn(|request: Request<Body>| async move {
            Ok::<_, Infallible>(Response::new(Answer::from(request.uri().to_string())))
        });
        let fence = held();
        advance(Duration::from_secs(4)).await;
        let said = |response: Response<Answer>| async {
            String::from_utf8(to_bytes(response.into_body(), 100).await.expect("a body").to_vec()).expect("text")
        };
        let write = within_limits(echo, Some(fence.clone())).oneshot(request(Method::PATCH)).await.expect("sent");
        let uri = said(write).await;
        let left = uri.strip_prefix("/api/v1/things?a=b&timeout=").and_then(|rest| rest.strip_suffix("ms"));
        let left: u64 = left.and_then(|left| left.parse().ok()).unwrap_or_else(|| panic!("{uri}"));
        assert!((8_000..=8_500).contains(&left), "15 s - 4 s - 2 s - 0.5 s, and {left} ms were said");
        let read = within_limits(echo, Some(fence)).oneshot(request(Method::GET)).await.expect("sent");
        assert_eq!(said(read).await, "/api/v1/things?a=b");
    }

    /// The clock jumps while a write waits for its connection, as it does for a process that was stopped: by the time it goes on, everything that it
    /// waited for has happened.
    #[tokio::test(start_paused = true)]
    async fn a_process_that_stood_still_sends_nothing_when_it_wakes() {
        let (connected, sent) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let transport = service_fn({
            let (connected, sent) = (connected.clone(), sent.clone());
            move |_| {
                let (connected, sent) = (connected.clone(), sent.clone());
                async move {
                    connected.notified().await;
                    sent.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Infallible>(Response::new(Answer::empty()))
                }
            }
        });
        for (stood_still, expected) in [(Duration::from_secs(1), 1), (Duration::from_secs(20), 0)] {
            sent.store(0, Ordering::SeqCst);
            let fence = held();
            let write = tokio::spawn(within_limits(transport.clone(), Some(fence)).oneshot(request(Method::POST)));
            tokio::task::yield_now().await;
            connected.notify_one();
            advance(stood_still).await;
            let result = write.await.expect("no panic");
            assert_eq!((result.is_ok(), sent.load(Ordering::SeqCst)), (expected == 1, expected));
            let _ = tokio::time::timeout(Duration::from_millis(1), connected.notified()).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_by_an_instance_that_does_not_hold_the_lease() {
        let sent = Arc::new(AtomicUsize::new(0));
        let transport = service_fn({
            let sent = sent.clone();
            move |_| {
                sent.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Ok::<_, Infallible>(Response::new(Answer::empty())))
            }
        });
        let fence = Fence::default();
        let call = |method| within_limits(transport.clone(), Some(fence.clone())).oneshot(request(method));
        assert_eq!(why(call(Method::DELETE).await), Some(Stopped::Fenced));
        assert!(call(Method::GET).await.is_ok(), "standbys may read");
        fence.renewed(Moment::now());
        assert!(call(Method::PUT).await.is_ok());
        advance(GIVE_UP).await;
        assert_eq!(why(call(Method::POST).await), Some(Stopped::Fenced));
        assert_eq!(sent.load(Ordering::SeqCst), 2);
    }
}
