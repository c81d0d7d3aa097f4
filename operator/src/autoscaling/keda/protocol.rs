//! Messages of the gRPC service `externalscaler.ExternalScaler` of KEDA. Source:
//! <https://github.com/kedacore/keda/blob/main/pkg/scalers/externalscaler/externalscaler.proto>.

use std::{collections::HashMap, convert::Infallible};

use axum::http::{Request, Response};
use futures::future::BoxFuture;
use tonic::{
    Status,
    body::Body,
    server::{Grpc, UnaryService},
};
use tonic_prost::ProstCodec;

/// The ScaledObject that a call is about.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScaledObjectRef {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Metadata of the trigger.
    #[prost(map = "string, string", tag = "3")]
    pub scaler_metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IsActiveResponse {
    #[prost(bool, tag = "1")]
    pub result: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricSpecResponse {
    #[prost(message, repeated, tag = "1")]
    pub metric_specs: Vec<MetricSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricSpec {
    #[prost(string, tag = "1")]
    pub metric_name: String,
    #[prost(int64, tag = "2")]
    pub target_size: i64,
    #[prost(double, tag = "3")]
    pub target_size_float: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsRequest {
    #[prost(message, optional, tag = "1")]
    pub scaled_object_ref: Option<ScaledObjectRef>,
    #[prost(string, tag = "2")]
    pub metric_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetMetricsResponse {
    #[prost(message, repeated, tag = "1")]
    pub metric_values: Vec<MetricValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricValue {
    #[prost(string, tag = "1")]
    pub metric_name: String,
    #[prost(int64, tag = "2")]
    pub metric_value: i64,
    #[prost(double, tag = "3")]
    pub metric_value_float: f64,
}

/// Full name of the gRPC service.
pub const SERVICE: &str = "externalscaler.ExternalScaler";

/// Serves a unary call with `handler`.
pub fn unary<Q, A, F, O>(request: Request<Body>, handler: F) -> BoxFuture<'static, Result<Response<Body>, Infallible>>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
    F: Fn(Q) -> O + Send + 'static,
    O: Future<Output = Result<A, Status>> + Send + 'static,
{
    Box::pin(async move { Ok(Grpc::new(ProstCodec::<A, Q>::default()).unary(Unary(handler), request).await) })
}

struct Unary<F>(F);

impl<Q, A, F, O> UnaryService<Q> for Unary<F>
where
    A: Send + 'static,
    F: Fn(Q) -> O,
    O: Future<Output = Result<A, Status>> + Send + 'static,
{
    type Response = A;
    type Future = BoxFuture<'static, Result<tonic::Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let response = (self.0)(request.into_inner());
        Box::pin(async move { response.await.map(tonic::Response::new) })
    }
}
