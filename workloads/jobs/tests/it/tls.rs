//! TLS connections to real servers, with a private certificate authority.

use std::time::Duration;

use switchyard_contract::{Role, Workload};
use switchyard_jobs::{
    broker::Broker,
    setup::{self, Component},
    store::{Store, StoreError},
    testing::{Certificates, Postgres, Rabbit, Redis, postgres},
};
use tokio::time::timeout;

use crate::setup::{Folder, config, setup_config};

async fn encrypted(certificates: &Certificates) -> Postgres {
    let settings = [
        "fsync=off".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificates.certificate().display()),
        format!("ssl_key_file={}", certificates.key().display()),
    ];
    Postgres::own(&settings.each_ref().map(String::as_str)).await
}

fn store(folder: &Folder, uri: &str, roots: Option<&str>) -> Store {
    folder.secret("database", "uri", uri);
    folder.secret("database", "ca.crt", roots.unwrap_or_default());
    Store::connect(&config(Workload::Api, Role::Api), &folder.mount()).unwrap()
}

#[tokio::test]
async fn sslmode_decides_which_certificates_are_accepted() {
    let (ours, theirs) = (Certificates::new(&["postgres", "nobody"]), Certificates::new(&["postgres", "nobody"]));
    let server = encrypted(&ours).await;
    let by_name = server.uri("postgres").replace("127.0.0.1", "localhost");
    let by_ip = server.uri("postgres");
    let (ours, theirs) = (ours.authority(), theirs.authority());
    let folder = Folder::new("tls-modes");
    for (uri, mode, roots, trusted) in [
        (&by_name, "disable", Some(&theirs), true),
        (&by_name, "prefer", None, true),
        (&by_name, "require", None, true),
        (&by_ip, "require", Some(&ours), true),
        (&by_ip, "require", Some(&theirs), false),
        (&by_ip, "verify-ca", Some(&ours), true),
        (&by_name, "verify-ca", Some(&theirs), false),
        (&by_name, "verify-full", Some(&ours), true),
        (&by_ip, "verify-full", Some(&ours), false),
        // No root of the web PKI has signed the certificate.
        (&by_name, "verify-full", None, false),
    ] {
        let case = format!("{mode} at {uri} with {}", roots.map_or("the web PKI's roots", |_| "roots of its own"));
        let store = store(&folder, &format!("{uri}?sslmode={mode}"), roots.map(String::as_str));
        let answer = store.ping().await;
        assert_eq!(answer.is_ok(), trusted, "{case}: {answer:?}");
        if !trusted {
            assert!(
                matches!(&answer, Err(StoreError::Unavailable(why)) if why.contains("certificate")),
                "{case}: {answer:?}"
            );
            continue;
        }
        let client = connect(&by_ip).await;
        let encrypted: bool = client
            .query_one(
                "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'switchyard-api'",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        assert_eq!(encrypted, mode != "disable", "{case}");
        drop(store);
        let gone = "select from pg_stat_activity where application_name = 'switchyard-api'";
        let going = async {
            while !client.query(gone, &[]).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), going).await.expect("the store's connection is not closed");
    }
    server.end();
}

#[tokio::test]
async fn setup_reports_what_is_wrong_with_a_certificate() {
    let (ours, theirs) = (Certificates::new(&["postgres", "nobody"]), Certificates::new(&["postgres", "nobody"]));
    let server = encrypted(&ours).await;
    let folder = Folder::new("tls-setup");
    let uri = server.uri("postgres").replace("127.0.0.1", "localhost");
    folder.secret("database", "uri", &format!("{uri}?sslmode=verify-full"));
    for (roots, words) in [
        (theirs.authority(), "invalid peer certificate"),
        ("no certificate".to_owned(), "there is no certificate in it"),
    ] {
        folder.secret("database", "ca.crt", &roots);
        let error = setup::run(&setup_config(), &folder.mount()).await.unwrap_err();
        assert!(error.message.contains(words) && error.message.contains("'ca.crt'"), "{}", error.message);
    }
    server.end();
}

#[tokio::test]
async fn mounted_roots_verify_cache_and_broker() {
    let (ours, theirs) = (Certificates::new(&["rabbitmq", "nobody"]), Certificates::new(&["rabbitmq", "nobody"]));
    let (roots, foreign_roots) = (ours.authority(), theirs.authority());
    let rabbit = Rabbit::encrypted(&ours).await;
    let redis = Redis::encrypted(ours).await;
    let folder = Folder::new("tls-others");
    folder.secret("database", "uri", &postgres().await.bare_database().await.uri);
    folder.secret("broker", "uri", &rabbit.vhost());
    folder.secret("cache", "uri", &redis.database());
    folder.secret("broker", "ca.crt", &roots);
    folder.secret("cache", "ca.crt", &roots);
    // Setup connects to both.
    let bare = config(Workload::Setup { roles: Vec::new() }, Role::Api);
    setup::run(&bare, &folder.mount()).await.unwrap();
    let broker = Broker::mounted(&folder.mount(), "test").unwrap();
    timeout(Duration::from_secs(20), broker.connected()).await.expect("the broker is not reached");
    broker.close().await;

    folder.secret("cache", "ca.crt", &foreign_roots);
    let error = setup::run(&bare, &folder.mount()).await.unwrap_err();
    assert!(error.component == Component::Cache && error.message.contains("'ca.crt'"), "{error}");
    folder.secret("broker", "ca.crt", &foreign_roots);
    let error = setup::run(&bare, &folder.mount()).await.unwrap_err();
    assert!(error.component == Component::Broker && error.message.contains("'ca.crt'"), "{error}");
    rabbit.kill();
    redis.end();
}

async fn connect(uri: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(uri, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
