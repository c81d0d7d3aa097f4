//! The setup, and the API with the privileges that it grants.

use secrecy::ExposeSecret;
use serde_json::json;
use switchyard_api::setup;
use switchyard_contract::{
    Config, Mount, Role, RoleGrant, Workload,
    files::{BROKER_URI, DATABASE_ADMIN_URI, DATABASE_ROLES_GROUP, DATABASE_URI, SecretFile},
};
use switchyard_jobs::testing;

use crate::fixture::{TestApi, config, mounted, put_config, put_secret};

/// The configuration that the operator writes for the setup.
fn setup_config() -> Config {
    let grant = |role: &Role| RoleGrant { role: *role, connections: 20, statement_timeout_seconds: 10 };
    Config { workload: Workload::Setup { roles: Role::ALL.iter().map(grant).collect() }, ..config() }
}

/// The mounted files of a setup with an empty database.
async fn bare() -> tempfile::TempDir {
    let database = testing::postgres().await.bare_database().await;
    let mount = mounted(&database.uri).await;
    put_secret(mount.path(), DATABASE_ADMIN_URI, &database.uri);
    for role in Role::ALL {
        let file = SecretFile { group: DATABASE_ROLES_GROUP, key: role.as_str() };
        put_secret(mount.path(), file, &format!("password-of-{role}"));
    }
    put_config(mount.path(), &setup_config());
    mount
}

/// Runs one setup at a time: roles belong to the server, which the tests share.
async fn set_up(mount: &tempfile::TempDir) -> Result<(), setup::Failure> {
    static LOCK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _guard = LOCK.lock().await;
    setup::run(&Mount::at(mount.path())).await
}

#[tokio::test]
async fn api_needs_only_the_privileges_of_its_role() {
    let mount = bare().await;
    for _ in 0..2 {
        set_up(&mount).await.unwrap();
    }
    let api = TestApi::over(mount, |_| {}, &[]).await;
    let tenant = api.tenant("standard", 10).await;
    let id = tenant.submit(&api.name("limited")).await;
    api.kill(&id, "profile-not-found").await;
    assert_eq!(tenant.get(&format!("/v1/jobs/{id}")).await.expect(200)["state"], "dead");
    let dead = api.admin().get("/admin/v1/dead").await.expect(200);
    assert_eq!(dead["dead"][0]["job"]["id"], *id);
    api.admin().post(&format!("/admin/v1/dead/{id}/replay"), json!({})).await.expect(200);
    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    let other = tenant.submit(&api.name("limited")).await;
    api.complete(&other).await;
    tenant.get(&format!("/v1/jobs/{other}/result")).await.expect(200);
    assert_eq!(tenant.get("/v1/jobs").await.expect(200)["jobs"].as_array().unwrap().len(), 2);
    api.admin().get("/admin/v1/lanes").await.expect(200);
    api.admin().post("/admin/v1/lanes/ai/low/pause", json!({})).await.expect(200);
    api.admin().post("/admin/v1/lanes/ai/low/resume", json!({})).await.expect(200);
    let account = format!("/admin/v1/tenants/{}", tenant.id);
    api.admin().post(&format!("{account}/credits"), json!({"amount": 2, "reason": "gift"})).await.expect(200);
    assert_eq!(api.admin().get(&account).await.expect(200)["ledger_sum"], 10);
    assert_eq!(api.operations("/readyz").await.0, 200);
}

#[tokio::test]
async fn setup_reports_a_wrong_password_without_showing_it() {
    let mount = bare().await;
    let uri = Mount::at(mount.path()).secret(DATABASE_URI).unwrap();
    let (_, server) = uri.expose_secret().split_once('@').unwrap();
    let wrong = format!("postgres://unknown:mistyped-word@{server}");
    put_secret(mount.path(), DATABASE_ADMIN_URI, &wrong);
    let failure = set_up(&mount).await.unwrap_err();
    assert_eq!(failure.component, "database");
    assert!(failure.message.contains("password"), "{}", failure.message);
    assert!(!failure.message.contains("mistyped-word"), "{}", failure.message);
}

#[tokio::test]
async fn setup_reports_an_invalid_address_with_its_component() {
    let mount = bare().await;
    put_secret(mount.path(), BROKER_URI, "not an address");
    let failure = set_up(&mount).await.unwrap_err();
    assert_eq!(failure.component, "broker", "{}", failure.message);
}
