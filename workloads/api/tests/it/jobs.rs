use serde_json::json;

use crate::fixture::{World, result_of};

#[tokio::test]
async fn a_foreign_job_does_not_exist() {
    let world = World::start().await;
    let (owner, stranger) = (world.tenant("standard", 10).await, world.tenant("standard", 10).await);
    let id = owner.submit("mine").await;
    for path in [format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/result")] {
        owner.get(&path).await;
        stranger.get(&path).await.refusal(404, "not-found");
    }
    stranger
        .get_with(&format!("/v1/jobs/{id}/events"), &[("accept", "text/event-stream")])
        .await
        .refusal(404, "not-found");
    stranger.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.refusal(404, "not-found");
    assert_eq!(owner.get(&format!("/v1/jobs/{id}")).await.expect(200)["state"], "queued");
    assert_eq!(stranger.get("/v1/jobs").await.expect(200)["jobs"], json!([]));
    owner.get("/v1/jobs/not-an-id").await.refusal(404, "not-found");
}

#[tokio::test]
async fn a_result_is_there_when_the_job_is_completed_and_not_before() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
    let name = world.name("finished");
    let id = tenant.submit(&name).await;
    let result = format!("/v1/jobs/{id}/result");
    assert_eq!(tenant.get(&result).await.refusal(409, "not-finished")["state"], "queued");
    tenant.get(&format!("/v1/profiles/{name}")).await.refusal(404, "not-found");

    world.complete(&id).await;
    assert_eq!(tenant.get(&result).await.expect(200), result_of(&name));
    let job = tenant.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!((&job["state"], &job["progress"], &job["attempt"]), (&json!("completed"), &json!(100), &json!(1)));
    assert!(job["finished_at"].is_string());

    let profile = tenant.get(&format!("/v1/profiles/@{name}")).await.expect(200);
    assert_eq!(profile["result"], result_of(&name));
    assert_eq!(profile["job"], *id);
    let stranger = world.tenant("standard", 10).await;
    stranger.get(&format!("/v1/profiles/{name}")).await.refusal(404, "not-found");
    tenant.get("/v1/profiles/a%20b").await.refusal(422, "invalid-request");

    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.refusal(409, "already-finished");
}

#[tokio::test]
async fn a_job_that_failed_for_good_says_why_and_gives_its_credits_back() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
    let id = tenant.submit("gone").await;
    world.kill(&id, "profile-not-found").await;
    let job = tenant.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("dead"), &json!("profile-not-found")));
    tenant.get(&format!("/v1/jobs/{id}/result")).await.refusal(409, "no-result");
    let usage = tenant.get("/v1/usage").await.expect(200);
    assert_eq!((&usage["credits"], &usage["running"]), (&json!(10), &json!(0)));
}

#[tokio::test]
async fn a_cancelled_job_that_had_not_run_gives_its_credits_back() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
    let id = tenant.submit("unwanted").await;
    let cancelled = tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["job"]["state"], "cancelled");
    assert_eq!(cancelled["credits"], json!({"refunded": 2, "balance": 10}));
    let again = tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    assert_eq!(again["credits"], json!({"refunded": 0, "balance": 10}));
    tenant.get(&format!("/v1/jobs/{id}/result")).await.refusal(409, "no-result");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_page_by_page() {
    let world = World::start().await;
    let tenant = world.tenant("standard", 10).await;
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
