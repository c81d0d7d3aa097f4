use secrecy::ExposeSecret;
use serde_json::json;
use switchyard_api::setup;
use switchyard_contract::{
    Config, Mount, Role, RoleGrant, Workload,
    files::{BROKER_URI, DATABASE_ADMIN_URI, DATABASE_ROLES_GROUP, DATABASE_URI, SecretFile},
};
use switchyard_jobs::testing;

use crate::fixture::{World, config, mounted, put_config, put_secret};

/// The configuration that the operator would write for the setup.
fn setup_config() -> Config {
    let grant = |role: &Role| RoleGrant { role: *role, connections: 20, statement_timeout_seconds: 10 };
    Config { workload: Workload::Setup { roles: Role::ALL.iter().map(grant).collect() }, ..config() }
}

/// A folder as it is mounted into the setup of an empty database.
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

/// Roles belong to the whole server, and the tests share one: one setup at a time.
async fn set_up(mount: &tempfile::TempDir) -> Result<(), setup::Failure> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = ONE.lock().await;
    setup::run(&Mount::at(mount.path())).await
}

#[tokio::test]
async fn after_the_set_up_the_api_works_with_the_rights_of_its_role_alone() {
    let mount = bare().await;
    for _ in 0..2 {
        set_up(&mount).await.unwrap();
    }
    let world = World::over(mount, |_| {}, &[]).await;
    let tenant = world.tenant("standard", 10).await;
    let id = tenant.submit(&world.name("limited")).await;
    world.kill(&id, "profile-not-found").await;
    assert_eq!(tenant.get(&format!("/v1/jobs/{id}")).await.expect(200)["state"], "dead");
    let dead = world.admin().get("/admin/v1/dead").await.expect(200);
    assert_eq!(dead["dead"][0]["job"]["id"], *id);
    world.admin().post(&format!("/admin/v1/dead/{id}/replay"), json!({})).await.expect(200);
    tenant.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.expect(200);
    let other = tenant.submit(&world.name("limited")).await;
    world.complete(&other).await;
    tenant.get(&format!("/v1/jobs/{other}/result")).await.expect(200);
    assert_eq!(tenant.get("/v1/jobs").await.expect(200)["jobs"].as_array().unwrap().len(), 2);
    world.admin().get("/admin/v1/lanes").await.expect(200);
    world.admin().post("/admin/v1/lanes/ai/low/pause", json!({})).await.expect(200);
    world.admin().post("/admin/v1/lanes/ai/low/resume", json!({})).await.expect(200);
    let account = format!("/admin/v1/tenants/{}", tenant.id);
    world.admin().post(&format!("{account}/credits"), json!({"amount": 2, "reason": "gift"})).await.expect(200);
    assert_eq!(world.admin().get(&account).await.expect(200)["ledger_sum"], 10);
    assert_eq!(world.operations("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_wrong_password_is_told_with_its_component_and_without_the_password() {
    let mount = bare().await;
    let uri = Mount::at(mount.path()).secret(DATABASE_URI).unwrap();
    let (_, server) = uri.expose_secret().split_once('@').unwrap();
    let wrong = format!("postgres://stranger:mistyped-word@{server}");
    put_secret(mount.path(), DATABASE_ADMIN_URI, &wrong);
    let failure = set_up(&mount).await.unwrap_err();
    assert_eq!(failure.component, "database");
    assert!(failure.message.contains("password"), "{}", failure.message);
    assert!(!failure.message.contains("mistyped-word"), "{}", failure.message);
}

#[tokio::test]
async fn an_address_that_is_none_is_told_with_its_component() {
    let mount = bare().await;
    put_secret(mount.path(), BROKER_URI, "not an address");
    let failure = set_up(&mount).await.unwrap_err();
    assert_eq!(failure.component, "broker", "{}", failure.message);
}
