//! Traces as a collector receives them.

use std::time::Duration;

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;
use serde_json::json;
use switchyard_contract::Telemetry;
use tokio::{net::TcpListener, sync::mpsc};

use crate::fixture::TestApi;

/// A collector of OTLP over HTTP. The channel has each span with the name of its service.
async fn collector() -> (String, mpsc::UnboundedReceiver<(String, Span)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let take = async |State(sender): State<mpsc::UnboundedSender<(String, Span)>>, body: Bytes| {
        for resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            let service = attributes.into_iter().find(|a| a.key == "service.name").unwrap().value.unwrap();
            let service = format!("{:?}", service.value.unwrap());
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                sender.send((service.clone(), span)).unwrap();
            }
        }
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, receiver)
}

#[tokio::test]
async fn trace_reaches_the_collector_the_job_and_the_exemplar() {
    let (url, mut spans) = collector().await;
    // Samples only the requests whose caller is traced.
    let telemetry = Telemetry { otlp_endpoint: url, sample_percent: 0 };
    let api = TestApi::with(|config| config.telemetry = Some(telemetry)).await;
    let tenant = api.tenant("standard", 10).await;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let traced = format!("00-{trace}-{parent}-01");
    let name = api.name("traced");
    let body = json!({"username": name});
    let answer = tenant.post_with("/v1/analyses", body, &[("traceparent", &traced)]).await.expect(202);
    tenant.get("/v1/usage").await.expect(200);

    let (service, span) =
        tokio::time::timeout(Duration::from_secs(20), spans.recv()).await.expect("no span came").unwrap();
    assert!(service.contains("switchyard-api"), "{service}");
    assert_eq!((span.name.as_str(), span.kind()), ("POST /v1/analyses", SpanKind::Server));
    assert_eq!((hex::encode(&span.trace_id), hex::encode(&span.parent_span_id)), (trace.to_owned(), parent.to_owned()));
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);

    let claim = api.claim(answer["job"]["id"].as_str().unwrap()).await;
    let carried = claim.trace.expect("the job carries its trace").to_string();
    assert_eq!(carried, format!("00-{trace}-{}-01", hex::encode(&span.span_id)));
    let (_, metrics) = api.operations("/metrics").await;
    assert!(metrics.contains(&format!(r#"# {{trace_id="{trace}"}}"#)), "no exemplar in\n{metrics}");
    // No other request was traced.
    assert!(spans.try_recv().is_err());
}
