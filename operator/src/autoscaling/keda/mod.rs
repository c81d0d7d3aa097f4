//! The operator as an external scaler of KEDA. See
//! <https://keda.sh/docs/latest/concepts/external-scalers/>.
//!
//! Serves the same desired replicas as the external metrics API. In a cluster with KEDA, that API
//! belongs to KEDA. The server has no TLS, since it exposes nothing but desired replicas.

mod protocol;

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use axum::http::{Request, Response};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, server::NamedService, transport::Server};
use tower::Service;

use crate::{
    autoscaling::{
        desired_replicas::DesiredReplicas,
        keda::protocol::{
            GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
            SERVICE, ScaledObjectRef, unary,
        },
    },
    spec::names::{DESIRED_REPLICAS_METRIC, SCALER_POOL_KEY},
};

/// Timeout of a call, about that of KEDA.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Concurrent calls on one connection. KEDA uses one connection for all pools.
const MAX_CONCURRENT_CALLS: usize = 4096;

/// Serves at `address` until `shutdown`.
///
/// # Errors
/// If the address is invalid or cannot be bound.
pub async fn serve(desired: DesiredReplicas, address: &str, shutdown: CancellationToken) -> anyhow::Result<()> {
    let address = address.parse().with_context(|| format!("invalid address {address} for the KEDA scaler"))?;
    Server::builder()
        .timeout(CALL_TIMEOUT)
        .concurrency_limit_per_connection(MAX_CONCURRENT_CALLS)
        .add_service(Scaler(desired))
        .serve_with_shutdown(address, shutdown.cancelled())
        .await
        .context("cannot serve KEDA")
}

#[derive(Clone)]
struct Scaler(DesiredReplicas);

impl NamedService for Scaler {
    const NAME: &'static str = SERVICE;
}

impl Service<Request<Body>> for Scaler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let scaler = self.clone();
        let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        match call.as_str() {
            "IsActive" => unary(request, move |object| scaler.clone().activity(object)),
            "GetMetricSpec" => unary(request, Self::metric_spec),
            "GetMetrics" => unary(request, move |request| scaler.clone().metrics(request)),
            // KEDA calls `StreamIsActive` only on push scalers.
            other => {
                let message = format!("unknown method {other}");
                Box::pin(async { Ok(Status::new(Code::Unimplemented, message).into_http()) })
            }
        }
    }
}

impl Scaler {
    /// KEDA activates a pool without pods on `true`. It deactivates the pool after `false` for the
    /// whole cooldown period.
    async fn activity(self, object: ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        let load = self.0.load(&object.namespace, pool_of(&object)?).await.map_err(Status::unavailable)?;
        Ok(IsActiveResponse { result: load.desired.pods > 0.0 || !load.idle })
    }

    #[expect(clippy::unused_async, reason = "the same signature as the other calls")]
    async fn metric_spec(object: ScaledObjectRef) -> Result<GetMetricSpecResponse, Status> {
        pool_of(&object)?;
        let spec = MetricSpec { metric_name: DESIRED_REPLICAS_METRIC.into(), target_size: 1, target_size_float: 1.0 };
        Ok(GetMetricSpecResponse { metric_specs: vec![spec] })
    }

    /// Fails if the load is unknown. KEDA then keeps the replicas, where a value of 0 would remove
    /// them.
    async fn metrics(self, request: GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let object = request.scaled_object_ref.unwrap_or_default();
        let load = self.0.load(&object.namespace, pool_of(&object)?).await.map_err(Status::unavailable)?;
        let pods = load.desired.pods.clamp(0.0, 1e6);
        #[expect(clippy::cast_possible_truncation, reason = "it is small and not negative")]
        let value = MetricValue {
            metric_name: request.metric_name,
            metric_value: pods.ceil() as i64,
            metric_value_float: pods,
        };
        Ok(GetMetricsResponse { metric_values: vec![value] })
    }
}

fn pool_of(object: &ScaledObjectRef) -> Result<&str, Status> {
    let pool = object.scaler_metadata.get(SCALER_POOL_KEY).map(String::as_str).filter(|pool| !pool.is_empty());
    pool.ok_or_else(|| {
        Status::invalid_argument(format!(
            "the metadata of the trigger lacks {SCALER_POOL_KEY}: set it to the name of the WorkerPool"
        ))
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tonic::{client::Grpc, transport::Endpoint};
    use tonic_prost::ProstCodec;

    use super::*;
    use crate::{autoscaling::platform_client::PlatformClient, kubernetes::cache::store::WatchCache};

    async fn call<Q, A>(address: &str, method: &str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let path = format!("/{SERVICE}/{method}").parse().expect("a path");
        client
            .unary(tonic::Request::new(message), path, ProstCodec::<Q, A>::default())
            .await
            .map(tonic::Response::into_inner)
    }

    #[tokio::test]
    async fn client_gets_the_metric_spec_and_the_reason_of_an_unknown_load() {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn({
            let (desired, shutdown) = (
                DesiredReplicas { platform_client: PlatformClient::new(), cache: WatchCache::new().0 },
                shutdown.clone(),
            );
            async move { serve(desired, &free.to_string(), shutdown).await }
        });
        let at = free.to_string();
        while tokio::net::TcpStream::connect(free).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let object = |pool: &[(&str, &str)]| ScaledObjectRef {
            name: "images".into(),
            namespace: "shop".into(),
            scaler_metadata: pool.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let known = object(&[(SCALER_POOL_KEY, "images")]);
        let spec: GetMetricSpecResponse = call(&at, "GetMetricSpec", known.clone()).await.expect("an answer");
        assert_eq!(
            (spec.metric_specs[0].metric_name.as_str(), spec.metric_specs[0].target_size),
            (DESIRED_REPLICAS_METRIC, 1)
        );

        let nameless = call::<_, IsActiveResponse>(&at, "IsActive", object(&[])).await.expect_err("no pool");
        assert_eq!(nameless.code(), Code::InvalidArgument);
        let unknown = call::<_, IsActiveResponse>(&at, "IsActive", known.clone()).await.expect_err("no such pool");
        assert_eq!(unknown.code(), Code::Unavailable);
        assert!(unknown.message().contains("no WorkerPool images in namespace shop"), "{}", unknown.message());
        let asked =
            GetMetricsRequest { scaled_object_ref: Some(known.clone()), metric_name: DESIRED_REPLICAS_METRIC.into() };
        let unknown = call::<_, GetMetricsResponse>(&at, "GetMetrics", asked).await.expect_err("no such pool");
        assert_eq!(unknown.code(), Code::Unavailable);
        let stream = call::<_, IsActiveResponse>(&at, "StreamIsActive", known).await.expect_err("not a push scaler");
        assert_eq!(stream.code(), Code::Unimplemented);

        shutdown.cancel();
        serving.await.expect("no panic").expect("no error");
    }
}
