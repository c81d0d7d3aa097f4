//! The client of the API server. Every call has a deadline, and writes pass the write fence.

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
    kubernetes::write_fence::{Fence, TCP_USER_TIMEOUT},
    telemetry::metrics::Metrics,
};

/// Deadline of a call that is not a fenced write. Of a watch, only its start has to meet it.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call was not sent or not completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// This instance does not lead, or may have lost leadership.
    Fenced,
    /// No response for this long.
    Timeout(Duration),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => f.write_str("not sent: another instance may hold the lease"),
            Self::Timeout(limit) => write!(f, "no response for {} s", limit.as_secs_f32()),
        }
    }
}

impl std::error::Error for CallError {}

/// Connects to the cluster of `config`.
///
/// With a `fence`, writes have to pass it, and `metrics` counts the calls. `TCP_USER_TIMEOUT`
/// requires a direct connection.
///
/// # Errors
/// If the configuration names a proxy, or invalid certificates or credentials.
pub fn connect(config: &Config, metrics: &Metrics, fence: Option<Fence>) -> anyhow::Result<Client> {
    anyhow::ensure!(
        config.proxy_url.is_none(),
        "the API server cannot be reached through a proxy: unset HTTPS_PROXY and proxy-url"
    );
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(config.connect_timeout);
    tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    let connector = config.rustls_https_connector_with_connector(tcp).context("invalid certificates")?;
    let counted = fence.is_some().then(|| metrics.clone());
    let service = ServiceBuilder::new()
        .map_request(move |request: Request<Body>| {
            if let Some(metrics) = &counted {
                metrics.count_call(request.method().as_str());
            }
            request
        })
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().context("invalid credentials")?)
        .layer(config.extra_headers_layer().context("invalid headers")?)
        .service(with_limits(Http::builder(TokioExecutor::new()).build(connector), fence));
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Adds deadlines, the write fence and retries to `transport`.
///
/// Responses 429, 503 and 504 are retried after the time in `Retry-After`, or with exponential
/// backoff from 5 ms. Each attempt has its own deadline and passes the fence.
pub fn with_limits<S, B>(
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
        // `poll_ready` reserved capacity in `self`, so the call must use that instance, not the
        // clone.
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
        if watch { Ok(response) } else { buffer(response).await }
    };
    tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| CallError::Timeout(CALL_TIMEOUT))?
}

async fn write<S, B>(mut transport: S, request: Request<Body>, fence: Fence) -> Result<Response<Answer>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let write = fence.begin().ok_or(CallError::Fenced)?;
    let limit = write.left();
    let request = with_timeout(request, limit)?;
    let mut call = pin!(async { buffer(transport.call(request).await.map_err(Into::into)?.map(Answer::new)).await });
    let mut expired = pin!(tokio::time::sleep(limit));
    let response = poll_fn(|context| {
        // Checked before the call is polled. When a suspended process resumes, its connection is
        // ready and its time is over at the same moment.
        if write.left().is_zero() || expired.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(CallError::Timeout(limit).into()));
        }
        call.as_mut().poll(context)
    })
    .await?;
    // After a 5xx, the API server may still execute the request.
    if !response.status().is_server_error() {
        write.answered();
    }
    Ok(response)
}

/// Reads the whole body of the response.
async fn buffer(response: Response<Answer>) -> Result<Response<Answer>, BoxError> {
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, Answer::from(to_bytes(body, usize::MAX).await?)))
}

/// Adds the query parameter `timeout`, after which the API server aborts the request.
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
    use crate::kubernetes::write_fence::{Moment, RENEW_DEADLINE};

    fn held() -> Fence {
        let fence = Fence::default();
        fence.renewed(Moment::now());
        fence
    }

    fn request(method: Method) -> Request<Body> {
        Request::builder().method(method).uri("/api/v1/things?a=b").body(Body::empty()).expect("a request")
    }

    fn call_error(result: Result<Response<Answer>, BoxError>) -> Option<CallError> {
        result.err().and_then(|error| error.downcast_ref().cloned())
    }

    #[tokio::test(start_paused = true)]
    async fn silent_server_times_out_before_or_after_the_headers() {
        let silent = service_fn(|_| std::future::pending::<Result<Response<Answer>, Infallible>>());
        let started = tokio::time::Instant::now();
        let result = with_limits(silent, None).oneshot(request(Method::GET)).await;
        assert_eq!((call_error(result), started.elapsed()), (Some(CallError::Timeout(CALL_TIMEOUT)), CALL_TIMEOUT));

        let half = service_fn(|_| async {
            let body = Answer::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
            Ok::<_, Infallible>(Response::new(body))
        });
        assert!(call_error(with_limits(half, None).oneshot(request(Method::GET)).await).is_some());
        let result = with_limits(half, Some(held())).oneshot(request(Method::PATCH)).await;
        assert!(matches!(call_error(result), Some(CallError::Timeout(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn write_carries_its_time_left_as_the_timeout_parameter() {
        let echo = service_fn(|request: Request<Body>| async move {
            Ok::<_, Infallible>(Response::new(Answer::from(request.uri().to_string())))
        });
        let fence = held();
        advance(Duration::from_secs(4)).await;
        let echoed = |response: Response<Answer>| async {
            String::from_utf8(to_bytes(response.into_body(), 100).await.expect("a body").to_vec()).expect("text")
        };
        let write = with_limits(echo, Some(fence.clone())).oneshot(request(Method::PATCH)).await.expect("sent");
        let uri = echoed(write).await;
        let left = uri.strip_prefix("/api/v1/things?a=b&timeout=").and_then(|rest| rest.strip_suffix("ms"));
        let left: u64 = left.and_then(|left| left.parse().ok()).unwrap_or_else(|| panic!("{uri}"));
        assert!((8_000..=8_500).contains(&left), "15 s - 4 s - 2 s - 0.5 s, and {left} ms were sent");
        let read = with_limits(echo, Some(fence)).oneshot(request(Method::GET)).await.expect("sent");
        assert_eq!(echoed(read).await, "/api/v1/things?a=b");
    }

    /// The clock jumps while a write waits for its connection, as for a suspended process. When the
    /// process resumes, the connection is ready and the lease has expired.
    #[tokio::test(start_paused = true)]
    async fn suspended_process_sends_nothing_after_it_resumes() {
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
        for (suspended, expected) in [(Duration::from_secs(1), 1), (Duration::from_secs(20), 0)] {
            sent.store(0, Ordering::SeqCst);
            let fence = held();
            let write = tokio::spawn(with_limits(transport.clone(), Some(fence)).oneshot(request(Method::POST)));
            tokio::task::yield_now().await;
            connected.notify_one();
            advance(suspended).await;
            let result = write.await.expect("no panic");
            assert_eq!((result.is_ok(), sent.load(Ordering::SeqCst)), (expected == 1, expected));
            let _ = tokio::time::timeout(Duration::from_millis(1), connected.notified()).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn instance_without_the_lease_sends_no_write() {
        let sent = Arc::new(AtomicUsize::new(0));
        let transport = service_fn({
            let sent = sent.clone();
            move |_| {
                sent.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Ok::<_, Infallible>(Response::new(Answer::empty())))
            }
        });
        let fence = Fence::default();
        let call = |method| with_limits(transport.clone(), Some(fence.clone())).oneshot(request(method));
        assert_eq!(call_error(call(Method::DELETE).await), Some(CallError::Fenced));
        assert!(call(Method::GET).await.is_ok(), "standbys may read");
        fence.renewed(Moment::now());
        assert!(call(Method::PUT).await.is_ok());
        advance(RENEW_DEADLINE).await;
        assert_eq!(call_error(call(Method::POST).await), Some(CallError::Fenced));
        assert_eq!(sent.load(Ordering::SeqCst), 2);
    }
}
