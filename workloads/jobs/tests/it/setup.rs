//! The setup with real servers.

use std::{fs, path::PathBuf};

use switchyard_contract::{
    Analysis, Config, ConnectionPool, Database, Lanes, Mount, Platform, Pooler, Recovery, Retry, Role, RoleGrant,
    Tiers, Workload,
};
use switchyard_jobs::{
    setup::{self, Component},
    store::{Admission, KeyHash, Store, StoreError, SubmitRequest},
    testing::{Postgres, TestDatabase, postgres, rabbitmq, redis},
};
use tokio_postgres::{Client, NoTls, error::SqlState};

/// A mounted folder, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("switchyard-test-{}-mount-{name}", std::process::id())))
    }

    pub fn secret(&self, group: &str, key: &str, value: &str) {
        let folder = self.0.join("secrets").join(group);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(key), value).unwrap();
    }

    pub fn mount(&self) -> Mount {
        Mount::at(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn config(workload: Workload, role: Role) -> Config {
    Config {
        platform: Platform { namespace: "test".to_owned(), name: "test".to_owned() },
        workload,
        database: Database {
            role,
            pooler: Pooler::None,
            connections: ConnectionPool { size: 3, overflow: 0, wait_timeout_seconds: 5, statement_timeout_seconds: 5 },
        },
        lanes: Lanes::default(),
        tiers: Tiers::default(),
        retry: Retry::default(),
        analysis: Analysis::default(),
        object_store: None,
        profile_source: None,
        telemetry: None,
        recovery: Recovery::default(),
    }
}

pub fn setup_config() -> Config {
    let roles = Role::ALL.iter().map(|role| RoleGrant { role: *role, connections: 2, statement_timeout_seconds: 7 });
    config(Workload::Setup { roles: roles.collect() }, Role::Api)
}

#[tokio::test]
async fn setup_is_idempotent_and_grants_roles_only_what_they_need() {
    let folder = Folder::new("good");
    let uri = postgres().await.bare_database().await.uri;
    folder.secret("database", "uri", &uri);
    folder.secret("database", "admin-uri", &format!("{uri}\n"));
    folder.secret("broker", "uri", &rabbitmq().await.vhost());
    folder.secret("cache", "uri", &redis().await.database());
    for role in Role::ALL {
        folder.secret("database-roles", role.as_str(), &format!("pass'word-of-{role}"));
    }
    setup::run(&setup_config(), &folder.mount()).await.unwrap();
    setup::run(&setup_config(), &folder.mount()).await.unwrap();

    let api = Store::connect(&config(Workload::Api, Role::Api), &folder.mount()).unwrap();
    let request =
        SubmitRequest { key: KeyHash::of("x"), username: "ada".to_owned(), force_refresh: false, idempotency: None };
    assert_eq!(api.submit(request.clone()).await.unwrap(), Admission::Unauthenticated);
    assert_eq!(api.lanes().await.unwrap().len(), 16);

    let worker = Store::connect(&config(Workload::Api, Role::Workers), &folder.mount()).unwrap();
    worker.ping().await.unwrap();
    worker.heartbeat(&[], std::time::Duration::from_secs(1)).await.unwrap();
    for refused in [
        worker.submit(request).await.map(drop),
        worker.lanes().await.map(drop),
        worker.any_job(switchyard_jobs::model::JobId::fresh()).await.map(drop),
    ] {
        let Err(StoreError::Refused { code, .. }) = refused else {
            panic!("a worker's role has rights that it does not need")
        };
        assert_eq!(code, "42501");
    }

    // PostgreSQL enforces the connection limit of the role.
    let limited = Store::connect(&config(Workload::Api, Role::Discovery), &folder.mount()).unwrap();
    let both = futures::join!(sleep(&limited), sleep(&limited), sleep(&limited));
    let refused = [both.0, both.1, both.2].into_iter().filter(|r| matches!(r, Err(StoreError::Unavailable(_)))).count();
    assert_eq!(refused, 1, "the third connection is refused");
}

/// Runs the setup on its own server: roles belong to a server, and tests share the other one.
pub async fn set_up_roles(name: &str, roles: Vec<RoleGrant>, settings: &[&str]) -> (Postgres, TestDatabase) {
    let server = Postgres::own(settings).await;
    let database = server.bare_database().await;
    let folder = Folder::new(name);
    folder.secret("database", "uri", &database.uri);
    folder.secret("broker", "uri", &rabbitmq().await.vhost());
    folder.secret("cache", "uri", &redis().await.database());
    for grant in &roles {
        folder.secret("database-roles", grant.role.as_str(), &password(grant.role));
    }
    setup::run(&config(Workload::Setup { roles }, Role::Api), &folder.mount()).await.unwrap();
    (server, database)
}

/// The password that [`set_up_roles`] gives a role.
pub fn password(role: Role) -> String {
    format!("password-of-{role}")
}

/// A connection to `database`, a server's address of its superuser, as a role of
/// [`set_up_roles`].
async fn connect_as(role: Role, database: &TestDatabase) -> Result<Client, tokio_postgres::Error> {
    let (_, rest) = database.uri.split_once('@').unwrap();
    let uri = format!("postgres://{role}:{}@{rest}", password(role));
    let (client, connection) = tokio_postgres::connect(&uri, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn setup_limits_the_connections_and_statements_of_each_role() {
    // What the operator writes by default; its test `default_pools_are_those_of_the_roles` has
    // the same figures.
    let defaults = [
        (Role::Api, "analytics_api", 150, 10, "10s"),
        (Role::Workers, "analytics_workers", 100, 300, "5min"),
        (Role::AiWorkers, "analytics_ai_workers", 40, 600, "10min"),
        (Role::Discovery, "analytics_discovery", 25, 300, "5min"),
    ];
    let grants = defaults.map(|(role, _, connections, statement_timeout_seconds, _)| RoleGrant {
        role,
        connections,
        statement_timeout_seconds,
    });
    let (server, database) = set_up_roles(
        "limits",
        grants.to_vec(),
        &["fsync=off", "max_connections=350", "superuser_reserved_connections=3"],
    )
    .await;
    for (role, name, connections, _, timeout) in defaults {
        let mut held = Vec::new();
        let refused = loop {
            match connect_as(role, &database).await {
                Ok(client) => held.push(client),
                Err(refused) => break refused,
            }
        };
        assert_eq!(held.len(), connections as usize, "{name}: {refused}");
        assert_eq!(refused.code(), Some(&SqlState::TOO_MANY_CONNECTIONS), "{name}: {refused}");
        let row =
            held[0].query_one("select current_user::text, current_setting('statement_timeout')", &[]).await.unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), (name, timeout));
    }
    server.end();
}

#[tokio::test]
async fn platforms_on_one_server_can_be_set_up_concurrently() {
    // Its own server, because other tests create roles with other passwords.
    let server = Postgres::own(&["fsync=off"]).await;
    let mut folders = Vec::new();
    for n in 0..4 {
        let folder = Folder::new(&format!("concurrent{n}"));
        folder.secret("database", "uri", &server.bare_database().await.uri);
        folder.secret("broker", "uri", &rabbitmq().await.vhost());
        folder.secret("cache", "uri", &redis().await.database());
        for role in Role::ALL {
            folder.secret("database-roles", role.as_str(), &format!("password-of-{role}"));
        }
        folders.push(folder);
    }
    for _ in 0..3 {
        let mut runs = tokio::task::JoinSet::new();
        for folder in &folders {
            let mount = folder.mount();
            runs.spawn(async move { setup::run(&setup_config(), &mount).await });
        }
        for result in runs.join_all().await {
            result.unwrap();
        }
    }
    server.end();
}

/// Keeps a connection busy for a moment.
async fn sleep(store: &Store) -> Result<(), StoreError> {
    store.heartbeat(&[], std::time::Duration::from_secs(1)).await.map(drop)
}

#[tokio::test]
async fn setup_distinguishes_database_address_errors() {
    let server = postgres().await;
    let client = server.bare_database().await.client().await;
    client.batch_execute("create role someone login password 'something'").await.unwrap();
    for (name, uri, words) in [
        (
            "password",
            format!("postgres://someone:hunter2@127.0.0.1:{}/postgres", server.port()),
            "refused the login of user 'someone'",
        ),
        ("database", server.uri("nowhere"), "has no database 'nowhere'"),
        ("syntax", "not an address hunter2".to_owned(), "is not a PostgreSQL address"),
        (
            "tls",
            format!("{}?sslmode=require", server.uri("postgres")),
            "does not support TLS; correct the address's sslmode",
        ),
        ("mode", format!("{}?sslmode=perhaps", server.uri("postgres")), "sslmode=perhaps, which does not exist"),
    ] {
        let folder = Folder::new(name);
        folder.secret("database", "uri", &uri);
        let error = setup::run(&setup_config(), &folder.mount()).await.unwrap_err();
        assert_eq!(error.component, Component::Database, "{name}");
        assert!(error.message.contains(words), "{name}: {}", error.message);
        assert!(!error.message.contains("hunter2"), "{name}: {}", error.message);
    }
}

#[tokio::test]
async fn setup_reports_a_refused_database_connection() {
    let folder = Folder::new("refused");
    folder.secret("database", "uri", "postgres://postgres:hunter2@127.0.0.1:1/postgres");
    let error = setup::run(&setup_config(), &folder.mount()).await.unwrap_err();
    assert!(error.message.contains("127.0.0.1:1") && error.message.contains("connection refused"), "{}", error.message);
}

#[tokio::test]
async fn setup_distinguishes_broker_login_and_virtual_host_errors() {
    let server = postgres().await;
    let good = rabbitmq().await.vhost();
    let (base, _) = good.rsplit_once('/').unwrap();
    for (name, uri, words) in [
        ("login", good.replace("test:test", "test:hunter2"), "refused the login"),
        ("vhost", format!("{base}/nowhere"), "virtual host"),
    ] {
        let folder = Folder::new(name);
        folder.secret("database", "uri", &server.database().await.uri);
        folder.secret("broker", "uri", &uri);
        let error = setup::run(&setup_config(), &folder.mount()).await.unwrap_err();
        assert_eq!(error.component, Component::Broker, "{name}: {}", error.message);
        assert!(error.message.contains(words), "{name}: {}", error.message);
        assert!(!error.message.contains("hunter2"));
    }
}
