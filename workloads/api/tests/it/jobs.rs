//! A tenant's jobs: their visibility, results, refunds and pages.

use serde_json::json;

use crate::fixture::{TestApi, result_of};

#[tokio::test]
async fn job_of_another_tenant_answers_404() {
    let api = TestApi::start().await;
    let (owner, other) = (api.tenant("standard", 10).await, api.tenant("standard", 10).await);
    let id = owner.submit("mine").await;
    for path in [format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/result")] {
        owner.get(&path).await;
        other.get(&path).await.refusal(404, "not-found");
    }
    other
        .get_with(&format!("/v1/jobs/{id}/events"), &[("accept", "text/event-stream")])
        .await
        .refusal(404, "not-found");
    other.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.refusal(404, "not-found");
    assert_eq!(owner.get(&format!("/v1/jobs/{id}")).await.expect(200)["state"], "queued");
    assert_eq!(other.get("/v1/jobs").await.expect(200)["jobs"], json!([]));
    owner.get("/v1/jobs/not-an-id").await.refusal(404, "not-found");
}

#[tokio::test]
async fn result_exists_once_the_job_is_completed() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let name = api.name("finished");
    let id = tenant.submit(&name).await;
    let result = format!("/v1/jobs/{id}/result");
    assert_eq!(tenant.get(&result).await.refusal(409, "not-finished")["state"], "queued");
    tenant.get(&format!("/v1/profiles/{name}")).await.refusal(404, "not-found");

    api.complete(&id).await;
    assert_eq!(tenant.get(&result).await.expect(200), result_of(&name));
    let job = tenant.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!((&job["state"], &job["progress"], &job["attempt"]), (&json!("completed"), &json!(100), &json!(1)));
    assert!(job["finished_at"].is_string());

    let profile = tenant.get(&format!("/v1/profiles/@{name}")).await.expect(200);
    assert_eq!(profile["result"], result_of(&name));
    assert_eq!(profile["job"], *id);
    let other = api.tenant("standard", 10).await;
    other.get(&format!("/v1/profiles/{name}")).await.refusal(404, "not-found");
    tenant.get("/v1/profiles/a%20b").await.refusal(422, "invalid-request");

    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.refusal(409, "already-finished");
}

#[tokio::test]
async fn dead_job_has_an_error_and_refunds_its_credits() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit("gone").await;
    api.kill(&id, "profile-not-found").await;
    let job = tenant.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("dead"), &json!("profile-not-found")));
    tenant.get(&format!("/v1/jobs/{id}/result")).await.refusal(409, "no-result");
    let usage = tenant.get("/v1/usage").await.expect(200);
    assert_eq!((&usage["credits"], &usage["running"]), (&json!(10), &json!(0)));
}

#[tokio::test]
async fn cancelling_a_queued_job_refunds_its_credits() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit("unwanted").await;
    let cancelled = tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["job"]["state"], "cancelled");
    assert_eq!(cancelled["credits"], json!({"refunded": 2, "balance": 10}));
    let again = tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    assert_eq!(again["credits"], json!({"refunded": 0, "balance": 10}));
    tenant.get(&format!("/v1/jobs/{id}/result")).await.refusal(409, "no-result");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_page() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(tenant.submit(name).await);
    }
    ids.reverse();
    let first = tenant.get("/v1/jobs?limit=2").await.expect(200);
    let listed = |page: &serde_json::Value| -> Vec<String> {
        page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&first), ids[..2]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = tenant.get(&format!("/v1/jobs?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(listed(&second), ids[2..]);
    assert!(second.get("next_cursor").is_none());

    tenant.post(&format!("/v1/jobs/{}/cancel", ids[0]), json!({})).await.expect(200);
    assert_eq!(listed(&tenant.get("/v1/jobs?state=cancelled").await.expect(200)), ids[..1]);
    assert_eq!(listed(&tenant.get("/v1/jobs?state=queued&lane=normal").await.expect(200)), ids[1..]);
    assert_eq!(listed(&tenant.get("/v1/jobs?lane=low").await.expect(200)), Vec::<String>::new());

    for wrong in ["state=done", "lane=fast", "limit=0", "limit=201", "limit=x", "cursor=x", "colour=red"] {
        tenant.get(&format!("/v1/jobs?{wrong}")).await.refusal(422, "invalid-request");
    }
}
