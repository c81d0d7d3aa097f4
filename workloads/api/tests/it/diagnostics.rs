//! Diagnostics: job reports, ledgers, searches, workers, connections, health, and the console.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::TestApi;

#[tokio::test]
async fn job_report_is_for_the_admin_and_the_ledger_for_the_tenant() {
    let api = TestApi::start().await;
    let (admin, tenant) = (api.admin(), api.tenant("standard", 10).await);
    let name = api.name("seen");
    let id = tenant.submit(&name).await;
    let path = format!("/admin/v1/jobs/{id}");
    let report = admin.get(&path).await.expect(200);
    assert_eq!((&report["job"]["username"], &report["job"]["tenant"]), (&json!(name), &json!(tenant.id)));
    assert_eq!(report["ledger"][0]["kind"], "charge");
    assert_eq!(report["timeline"][0]["stage"], "queued");
    assert_eq!(report["trace"].as_str().unwrap().len(), 32);
    admin.get(&format!("{path}/result")).await.refusal(409, "not-finished");
    api.complete(&id).await;
    assert_eq!(admin.get(&format!("{path}/result")).await.expect(200)["profile"]["username"], json!(name));
    assert_eq!(admin.get(&path).await.expect(200)["worker"], "test");
    admin.post(&format!("{path}/cancel"), json!({})).await.refusal(409, "already-finished");

    let other = tenant.submit(&api.name("cancelled")).await;
    let cancelled = admin.post(&format!("/admin/v1/jobs/{other}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["job"]["state"], "cancelled");
    assert!(cancelled["credits"]["refunded"].as_i64().unwrap() > 0);
    let again = admin.post(&format!("/admin/v1/jobs/{other}/cancel"), json!({})).await.expect(200);
    assert_eq!(again["credits"]["refunded"], 0);
    let unknown = "/admin/v1/jobs/0198c2b0-0000-7000-8000-000000000000";
    admin.get(unknown).await.refusal(404, "not-found");
    admin.get(&format!("{unknown}/result")).await.refusal(404, "not-found");
    admin.post(&format!("{unknown}/cancel"), json!({})).await.refusal(404, "not-found");

    let entries = tenant.get("/v1/ledger").await.expect(200);
    let kinds: Vec<&str> = entries["entries"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["refund", "charge", "charge", "grant"]);
    let first = tenant.get("/v1/ledger?limit=3").await.expect(200);
    let second = tenant.get(&format!("/v1/ledger?limit=3&cursor={}", first["next_cursor"])).await.expect(200);
    assert_eq!((second["entries"].as_array().unwrap().len(), &second["next_cursor"]), (1, &Value::Null));
    let seen = admin.get(&format!("/admin/v1/tenants/{}/ledger", tenant.id)).await.expect(200);
    assert_eq!(seen, entries);
    tenant.get("/v1/ledger?limit=0").await.refusal(422, "invalid-request");
}

#[tokio::test]
async fn jobs_and_tenants_are_searched() {
    let api = TestApi::start().await;
    let (admin, one, other) = (api.admin(), api.tenant("standard", 10).await, api.tenant("standard", 10).await);
    let name = api.name("searched");
    let id = one.submit(&name).await;
    other.submit(&format!("{name}.too")).await;
    let count = |page: &Value| page["jobs"].as_array().unwrap().len();
    assert_eq!(count(&one.get(&format!("/v1/jobs?search={}", &name[..12])).await.expect(200)), 1);
    assert_eq!(count(&admin.get(&format!("/admin/v1/jobs?search={name}")).await.expect(200)), 2);
    let path = format!("/admin/v1/jobs?search={name}&tenant={}", one.id);
    assert_eq!(count(&admin.get(&path).await.expect(200)), 1);
    assert_eq!(count(&admin.get(&format!("/admin/v1/jobs?search={id}")).await.expect(200)), 1);
    assert_eq!(count(&other.get(&format!("/v1/jobs?search={id}")).await.expect(200)), 0);
    admin.get("/admin/v1/jobs?search=se").await.refusal(422, "invalid-request");
    let path = format!("/admin/v1/jobs?search={}", id.to_uppercase());
    assert_eq!(count(&admin.get(&path).await.expect(200)), 1);
    one.get("/v1/jobs?search=%25").await.refusal(422, "invalid-request");
    one.get(&format!("/v1/jobs?tenant={}", other.id)).await.refusal(422, "invalid-request");

    let tenants = admin.get("/admin/v1/tenants?search=TENANT-").await.expect(200);
    assert_eq!(tenants["tenants"].as_array().unwrap().len(), 2);
    let found = admin.get(&format!("/admin/v1/tenants?search={}", one.id)).await.expect(200);
    assert_eq!((&found["tenants"][0]["running"], &found["tenants"][0]["running_limit"]), (&json!(1), &json!(5)));
    let page = admin.get("/admin/v1/tenants?limit=1").await.expect(200);
    let next = page["next_cursor"].as_str().unwrap();
    assert_eq!(admin.get(&format!("/admin/v1/tenants?cursor={next}")).await.expect(200)["tenants"][0]["id"], one.id);
}

#[tokio::test]
async fn diagnostics_and_metrics_agree() {
    let api = TestApi::start().await;
    let admin = api.admin();
    // The score is 100 once the process is connected to its broker.
    let mut health = admin.get("/admin/v1/health").await.expect(200);
    for _ in 0..100 {
        if health["score"] == 100 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        health = admin.get("/admin/v1/health").await.expect(200);
    }
    assert_eq!(health["score"], 100, "{health}");
    let heartbeat = switchyard_jobs::store::WorkerHeartbeat {
        name: "pod-1",
        pool: "general",
        kind: switchyard_contract::Kind::General,
        concurrency: 8,
        running: 3,
        memory_bytes: 1,
        memory_limit_bytes: Some(2),
        draining: false,
        uptime_seconds: 5.0,
    };
    api.store.worker_seen(&heartbeat).await.unwrap();
    let workers = admin.get("/admin/v1/workers").await.expect(200);
    assert_eq!((&workers["workers"][0]["name"], &workers["workers"][0]["running"]), (&json!("pod-1"), &json!(3)));
    let connections = admin.get("/admin/v1/connections").await.expect(200);
    assert!(connections["in_use"].as_u64().unwrap() >= 1 && connections["max"].as_u64().unwrap() >= 10);

    let (status, report) = api.operations("/lanes").await;
    assert_eq!(status, 200);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["lanes"].as_array().unwrap().len(), 16);
    let (status, report) = api.operations("/health").await;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((status, &report["health"]["score"], &report["recoveries"]), (200, &json!(100), &json!([])));
    let (_, metrics) = api.operations("/metrics").await;
    for line in [
        "switchyard_health_score 100.0",
        r#"switchyard_lane_jobs{kind="general",lane="normal",state="ready"} 0.0"#,
        r#"switchyard_lane_capacity{lane="critical"} 50.0"#,
        r#"switchyard_lane_max_running{lane="low"} 4.0"#,
        "switchyard_dead_jobs 0.0",
        r#"switchyard_build_info{version="0.1.0"} 1"#,
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is not in\n{metrics}");
    }
    for name in ["switchyard_queue_stats_age_seconds", "process_start_time_seconds", "process_resident_memory_bytes"] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }

    let api = TestApi::without_database().await;
    assert_eq!(api.admin().get("/admin/v1/health").await.expect(200)["score"], 0);
    let (status, report) = api.operations("/health").await;
    assert!(status == 200 && report.contains("\"score\":0"), "{report}");
}

#[tokio::test]
async fn console_is_served_with_a_strict_content_security_policy() {
    let api = TestApi::start().await;
    let page = reqwest::get(format!("{}/console", api.url)).await.unwrap();
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/console/"));
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let html = page.text().await.unwrap();
    let files: Vec<&str> = html
        .split('"')
        .filter(|text| [".js", ".css", ".svg"].iter().any(|end| text.ends_with(end)))
        .map(|path| path.trim_start_matches("/console/").trim_start_matches("./"))
        .collect();
    assert!(files.len() >= 2, "{html}");
    for file in files {
        let answer = reqwest::get(format!("{}/console/{file}", api.url)).await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    }
    let missing = reqwest::get(format!("{}/console/none.js", api.url)).await.unwrap();
    assert_eq!(missing.status(), 404);
}
