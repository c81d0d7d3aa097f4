use std::time::Duration;

use serde_json::json;

use crate::fixture::World;

#[tokio::test]
async fn the_operations_port_tells_health_and_counts_by_route() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
    let id = tenant.submit("counted-name").await;
    tenant.get(&format!("/v1/jobs/{id}")).await.expect(200);
    world.anonymous().stray(reqwest::Method::GET, "/nowhere/at-all").await.refusal(404, "not-found");

    assert_eq!(world.operations("/livez").await.0, 200);
    assert_eq!(world.operations("/readyz").await.0, 200);
    let (status, metrics) = world.operations("/metrics").await;
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
async fn the_operations_port_tells_what_waits_in_every_lane_and_nothing_while_it_cannot_know() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
    let id = tenant.submit("waiting-name").await;
    // Five seconds old at most.
    let mut body = String::new();
    for _ in 0..100 {
        let (status, said) = world.operations("/lanes").await;
        assert_eq!(status, 200, "{said}");
        body = said;
        if body.contains("\"depth\":1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for name in [&id, "waiting-name", &tenant.id] {
        assert!(!body.contains(name), "{name} is in {body}");
    }
    let facts: serde_json::Value = serde_json::from_str(&body).unwrap();
    let lanes = facts["lanes"].as_array().unwrap();
    assert_eq!(lanes.len(), 16);
    let normal = lanes.iter().find(|lane| lane["kind"] == "general" && lane["lane"] == "normal").unwrap();
    assert_eq!(
        (&normal["depth"], &normal["running"], &normal["service_seconds"]),
        (&json!(1), &json!(0), &json!(null))
    );

    let world = World::without_database().await;
    assert_eq!(world.operations("/lanes").await.0, 503);
}

#[tokio::test]
async fn without_a_database_callers_are_asked_to_come_back() {
    let world = World::without_database().await;
    let caller = world.with_key("sk_somebody");
    for answer in [caller.get("/v1/usage").await, caller.post("/v1/analyses", json!({"username": "ada"})).await] {
        answer.refusal(503, "unavailable");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    let (status, reason) = world.operations("/readyz").await;
    assert_eq!(status, 503, "{reason}");
    assert_eq!(world.operations("/livez").await.0, 200);
    world.anonymous().get("/openapi.json").await.expect(200);
}

#[tokio::test]
async fn a_process_asked_to_stop_is_not_ready_and_still_answers_until_endpoints_have_dropped_it() {
    let world = World::with_options(|_| {}, &["--drain-seconds=2"]).await;
    let tenant = world.tenant("standard", 10).await;
    world.stop();
    let unready = async {
        while world.operations("/readyz").await.0 != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), unready).await.expect("it stays ready");
    tenant.get("/v1/usage").await.expect(200);
    world.ended().await;
    assert!(reqwest::get(&world.url).await.is_err(), "it still answers");
}
