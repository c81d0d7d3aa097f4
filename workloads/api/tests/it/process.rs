//! The process: probes, metrics, reports, start without a database, shutdown.

use std::time::Duration;

use serde_json::json;

use crate::fixture::TestApi;

#[tokio::test]
async fn operations_port_serves_probes_and_request_metrics() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit("counted-name").await;
    tenant.get(&format!("/v1/jobs/{id}")).await.expect(200);
    api.anonymous().stray(reqwest::Method::GET, "/nowhere/at-all").await.refusal(404, "not-found");

    assert_eq!(api.operations("/livez").await.0, 200);
    assert_eq!(api.operations("/readyz").await.0, 200);
    let (status, metrics) = api.operations("/metrics").await;
    assert_eq!(status, 200);
    let counted = r#"switchyard_api_requests_total{route="/v1/jobs/{id}",method="GET",status="2xx"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains(r#"route="unmatched""#), "{metrics}");
    assert!(metrics.contains(r#"switchyard_api_submissions_total{outcome="accepted"} 1"#), "{metrics}");
    assert!(metrics.contains("switchyard_database_connections_open"), "{metrics}");
    for name in [&id, "counted-name", "at-all", &tenant.key, &tenant.id] {
        assert!(!metrics.contains(name), "{name} is in the metrics");
    }
}

#[tokio::test]
async fn lanes_report_is_recent_or_answers_503() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit("waiting-name").await;
    // The report is at most five seconds old.
    let mut body = String::new();
    for _ in 0..100 {
        let (status, text) = api.operations("/lanes").await;
        assert_eq!(status, 200, "{text}");
        body = text;
        if body.contains("\"depth\":1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for name in [&id, "waiting-name", &tenant.id] {
        assert!(!body.contains(name), "{name} is in {body}");
    }
    let report: serde_json::Value = serde_json::from_str(&body).unwrap();
    let lanes = report["lanes"].as_array().unwrap();
    assert_eq!(lanes.len(), 16);
    let normal = lanes.iter().find(|lane| lane["kind"] == "general" && lane["lane"] == "normal").unwrap();
    assert_eq!(
        (&normal["depth"], &normal["running"], &normal["service_seconds"]),
        (&json!(1), &json!(0), &json!(null))
    );

    let api = TestApi::without_database().await;
    assert_eq!(api.operations("/lanes").await.0, 503);
}

#[tokio::test]
async fn without_a_database_requests_answer_503() {
    let api = TestApi::without_database().await;
    let caller = api.with_key("sk_unknown");
    for answer in [caller.get("/v1/usage").await, caller.post("/v1/analyses", json!({"username": "ada"})).await] {
        answer.refusal(503, "unavailable");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    let (status, reason) = api.operations("/readyz").await;
    assert_eq!(status, 503, "{reason}");
    assert_eq!(api.operations("/livez").await.0, 200);
    api.anonymous().get("/openapi.json").await.expect(200);
}

#[tokio::test]
async fn shutdown_fails_readiness_and_serves_until_the_drain_ends() {
    let api = TestApi::with_options(|_| {}, &["--drain-seconds=2"]).await;
    let tenant = api.tenant("standard", 10).await;
    api.stop();
    let unready = async {
        while api.operations("/readyz").await.0 != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), unready).await.expect("it stays ready");
    tenant.get("/v1/usage").await.expect(200);
    api.ended().await;
    assert!(reqwest::get(&api.url).await.is_err(), "it still answers");
}
