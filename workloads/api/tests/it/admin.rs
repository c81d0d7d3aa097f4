//! The admin API: keys, tenants, credits, dead letters, lanes.

use reqwest::Method;
use serde_json::json;

use crate::fixture::TestApi;

#[tokio::test]
async fn admin_api_requires_the_admin_key() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let calls = [
        (Method::POST, "/admin/v1/tenants".to_owned()),
        (Method::GET, format!("/admin/v1/tenants/{}", tenant.id)),
        (Method::GET, format!("/admin/v1/tenants/{}/keys", tenant.id)),
        (Method::POST, format!("/admin/v1/tenants/{}/keys", tenant.id)),
        (Method::DELETE, format!("/admin/v1/tenants/{}/keys/{}", tenant.id, tenant.id)),
        (Method::POST, format!("/admin/v1/tenants/{}/credits", tenant.id)),
        (Method::GET, "/admin/v1/dead".to_owned()),
        (Method::POST, format!("/admin/v1/dead/{}/replay", tenant.id)),
        (Method::POST, format!("/admin/v1/dead/{}/discard", tenant.id)),
        (Method::GET, "/admin/v1/lanes".to_owned()),
        (Method::POST, "/admin/v1/lanes/cdn/low/pause".to_owned()),
        (Method::POST, "/admin/v1/lanes/cdn/low/resume".to_owned()),
        (Method::GET, "/admin/v1/jobs".to_owned()),
        (Method::GET, format!("/admin/v1/jobs/{}", tenant.id)),
        (Method::GET, format!("/admin/v1/jobs/{}/result", tenant.id)),
        (Method::POST, format!("/admin/v1/jobs/{}/cancel", tenant.id)),
        (Method::GET, "/admin/v1/tenants".to_owned()),
        (Method::GET, format!("/admin/v1/tenants/{}/ledger", tenant.id)),
        (Method::GET, "/admin/v1/health".to_owned()),
        (Method::GET, "/admin/v1/workers".to_owned()),
        (Method::GET, "/admin/v1/connections".to_owned()),
    ];
    for (method, path) in calls {
        tenant.raw(method.clone(), &path, "application/json", "{}").await.refusal(401, "unauthenticated");
        api.anonymous().raw(method, &path, "application/json", "{}").await.refusal(401, "unauthenticated");
    }
    // The admin key is not a key of a tenant.
    api.admin().get("/v1/usage").await.refusal(401, "unauthenticated");
}

#[tokio::test]
async fn admin_creates_a_tenant_with_keys_and_credits() {
    let api = TestApi::start().await;
    let admin = api.admin();
    let made = admin.post("/admin/v1/tenants", json!({"name": "Acme", "tier": "premium", "credits": 7})).await;
    let tenant = made.expect(201);
    let path = made.header("location");
    assert_eq!(path, format!("/admin/v1/tenants/{}", tenant["id"].as_str().unwrap()));
    let seen = admin.get(&path).await.expect(200);
    assert_eq!((&seen["credits"], &seen["ledger_sum"]), (&json!(7), &json!(7)));
    assert_eq!((&seen["running"], &seen["today"], &seen["tier"]), (&json!(0), &json!(0), &json!("premium")));

    let key = admin.post(&format!("{path}/keys"), json!({})).await.expect(201);
    let caller = api.with_key(key["key"].as_str().unwrap());
    assert_eq!(caller.get("/v1/usage").await.expect(200)["credits"], 7);

    let balance = admin.post(&format!("{path}/credits"), json!({"amount": 5, "reason": "gift"})).await.expect(200);
    assert_eq!(balance, json!({"credits": 12}));
    let refused = admin.post(&format!("{path}/credits"), json!({"amount": -13, "reason": "mistake"})).await;
    assert_eq!(refused.refusal(402, "insufficient-credits")["balance"], 12);
    admin.post(&format!("{path}/credits"), json!({"amount": 0, "reason": "x"})).await.refusal(422, "invalid-request");
    admin.post(&format!("{path}/credits"), json!({"amount": 1, "reason": ""})).await.refusal(422, "invalid-request");
    assert_eq!(admin.get(&path).await.expect(200)["ledger_sum"], 12);

    let revoke = format!("{path}/keys/{}", key["id"].as_str().unwrap());
    admin.raw(Method::DELETE, &revoke, "application/json", "").await.expect(204);
    caller.get("/v1/usage").await.refusal(401, "unauthenticated");

    let unknown = "/admin/v1/tenants/0198c2b0-0000-7000-8000-000000000000";
    admin.get(unknown).await.refusal(404, "not-found");
    admin.post(&format!("{unknown}/keys"), json!({})).await.refusal(404, "not-found");
    admin.get(&format!("{unknown}/keys")).await.refusal(404, "not-found");
    admin.post(&format!("{unknown}/credits"), json!({"amount": 1, "reason": "x"})).await.refusal(404, "not-found");
    admin
        .raw(Method::DELETE, &format!("{unknown}/keys/{}", key["id"].as_str().unwrap()), "", "")
        .await
        .refusal(404, "not-found");
}

#[tokio::test]
async fn keys_are_rotated_and_listed_without_their_secrets() {
    let api = TestApi::start().await;
    let (admin, old) = (api.admin(), api.tenant("standard", 10).await);
    let path = format!("/admin/v1/tenants/{}/keys", old.id);
    let old_id = api.only_key_of(&old).await;
    let made = admin.post(&path, json!({})).await.expect(201);
    let new = api.with_key(made["key"].as_str().unwrap());
    let name = api.name("kept");
    api.cache(&name).await;
    for caller in [&old, &new] {
        caller.get("/v1/usage").await.expect(200);
        caller.post("/v1/analyses", json!({"username": name})).await.expect(200);
    }

    admin.raw(Method::DELETE, &format!("{path}/{old_id}"), "", "").await.expect(204);
    old.get("/v1/usage").await.refusal(401, "unauthenticated");
    old.post("/v1/analyses", json!({"username": name})).await.refusal(401, "unauthenticated");
    new.get("/v1/usage").await.expect(200);
    new.post("/v1/analyses", json!({"username": name})).await.expect(200);

    let listed = admin.get(&path).await.expect(200);
    let keys = listed["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert_eq!(key["revoked_at"].is_string(), key["id"] == *old_id, "{key}");
    }
    assert!(!listed.to_string().contains(&old.key) && !listed.to_string().contains(&new.key));
}

#[tokio::test]
async fn invalid_tenant_is_refused() {
    let api = TestApi::start().await;
    for body in [
        json!({"name": "", "tier": "free", "credits": 1}),
        json!({"name": "a", "tier": "gold", "credits": 1}),
        json!({"name": "a", "tier": "free", "credits": -1}),
        json!({"name": "a", "tier": "free", "credits": 1.5}),
        json!({"name": "a", "tier": "free", "credits": 1, "admin": true}),
        json!({"tier": "free"}),
    ] {
        api.admin().post("/admin/v1/tenants", body).await.refusal(422, "invalid-request");
    }
}

#[tokio::test]
async fn dead_letters_are_listed_replayed_and_discarded() {
    let api = TestApi::start().await;
    let (admin, tenant) = (api.admin(), api.tenant("standard", 10).await);
    let id = tenant.submit(&api.name("dead")).await;
    api.kill(&id, "profile-not-found").await;
    let listed = async || {
        let list = admin.get("/admin/v1/dead?limit=1000").await.expect(200);
        list["dead"].as_array().unwrap().iter().find(|dead| dead["job"]["id"] == *id).cloned()
    };
    let dead = listed().await.expect("the dead job is not listed");
    assert_eq!(dead["failures"][0]["code"], "profile-not-found");
    assert_eq!(dead["failures"][0]["attempt"], 1);
    assert_eq!(dead["job"]["tenant"], *tenant.id);

    let replayed = admin.post(&format!("/admin/v1/dead/{id}/replay"), json!({})).await.expect(200);
    assert_eq!(replayed["job"]["state"], "queued");
    assert_eq!(replayed["credits"], json!({"charged": 2, "balance": 8}));
    assert!(listed().await.is_none());
    admin.post(&format!("/admin/v1/dead/{id}/replay"), json!({})).await.refusal(409, "not-dead");
    admin.post(&format!("/admin/v1/dead/{id}/discard"), json!({})).await.refusal(404, "not-found");

    api.kill(&id, "profile-not-found").await;
    let discarded = admin.post(&format!("/admin/v1/dead/{id}/discard"), json!({})).await.expect(200);
    assert_eq!(discarded, json!({"id": id, "discarded": true}));
    assert!(listed().await.is_none());
    assert_eq!(tenant.get(&format!("/v1/jobs/{id}")).await.expect(200)["state"], "dead");
    let account = admin.get(&format!("/admin/v1/tenants/{}", tenant.id)).await.expect(200);
    assert_eq!((&account["credits"], &account["ledger_sum"]), (&json!(10), &json!(10)));
    admin.post(&format!("/admin/v1/dead/{}/replay", tenant.id), json!({})).await.refusal(404, "not-found");
    admin.get("/admin/v1/dead?limit=0").await.refusal(422, "invalid-request");
}

#[tokio::test]
async fn replay_respects_the_concurrency_limit_of_the_tenant() {
    let api = TestApi::start().await;
    let (admin, tenant) = (api.admin(), api.tenant("free", 10).await);
    let dead = tenant.submit(&api.name("dead")).await;
    api.kill(&dead, "profile-not-found").await;
    let running = [tenant.submit(&api.name("one")).await, tenant.submit(&api.name("two")).await];
    let refused = admin.post(&format!("/admin/v1/dead/{dead}/replay"), json!({})).await;
    assert_eq!(refused.refusal(429, "concurrent-limit")["limit"], 2);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    tenant.post(&format!("/v1/jobs/{}/cancel", running[0]), json!({})).await.expect(200);
    admin.post(&format!("/admin/v1/dead/{dead}/replay"), json!({})).await.expect(200);
}

#[tokio::test]
async fn lanes_are_listed_paused_and_resumed() {
    let api = TestApi::start().await;
    let admin = api.admin();
    let paused = async || {
        let list = admin.get("/admin/v1/lanes").await.expect(200);
        let lanes = list["lanes"].as_array().unwrap().clone();
        assert_eq!(lanes.len(), 16);
        lanes.iter().find(|lane| lane["kind"] == "discovery" && lane["lane"] == "low").unwrap()["paused"].clone()
    };
    assert_eq!(paused().await, false);
    let answer = admin.post("/admin/v1/lanes/discovery/low/pause", json!({})).await.expect(200);
    assert_eq!(answer, json!({"kind": "discovery", "lane": "low", "paused": true}));
    assert_eq!(paused().await, true);
    admin.post("/admin/v1/lanes/discovery/low/resume", json!({})).await.expect(200);
    assert_eq!(paused().await, false);
    admin.post("/admin/v1/lanes/discovery/fast/pause", json!({})).await.refusal(404, "not-found");
    admin.post("/admin/v1/lanes/gpu/low/pause", json!({})).await.refusal(404, "not-found");
}

#[tokio::test]
async fn admin_lists_the_jobs_of_every_tenant() {
    let api = TestApi::start().await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit("seen").await;
    let page = api.admin().get("/admin/v1/jobs?limit=200").await.expect(200);
    let job =
        page["jobs"].as_array().unwrap().iter().find(|job| job["id"] == *id).expect("the job is not listed").clone();
    assert_eq!(job["tenant"], *tenant.id);
    api.admin().get("/admin/v1/jobs?state=done").await.refusal(422, "invalid-request");
}
