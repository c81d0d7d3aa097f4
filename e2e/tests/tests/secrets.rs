//! A wrong Secret shows as a condition that says so, and a mended one mends the platform.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use switchyard_e2e::{Cluster, Namespace, Platform, image};

const PASSWORD: &str = "the-users-own-password";

#[tokio::test]
async fn secrets_wrong_and_then_mended() -> Result<()> {
    let namespace = Cluster::connect().await?.namespace("secrets").await?;
    the_users_database(&namespace).await?;
    let spec = json!({"environment": "development", "database": {"secretRef": {"name": "db"}}});
    let manifest = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "own"}, "spec": spec});
    let told = |limit| {
        let namespace = namespace.clone();
        async move { namespace.wait("AnalyticsPlatform", "own", "DatabaseReady", "False", limit).await }
    };

    namespace.apply(manifest).await?;
    let (reason, message) = told(Duration::from_secs(60)).await?;
    ensure!(message.contains("db"), "a missing Secret: {reason}: {message}");
    let (ready, ..) = namespace.condition("AnalyticsPlatform", "own", "Ready").await?;
    ensure!(ready == "False", "Ready is {ready}");

    namespace.apply(secret(json!({"url": "postgres://nobody@nowhere/none"}))).await?;
    let (reason, message) = wait_for(&namespace, "uri").await?;
    ensure!(message.contains("db"), "a Secret without the key: {reason}: {message}");

    namespace.apply(secret(address("not-the-one", "database"))).await?;
    let (reason, message) = wait_for(&namespace, "password").await?;
    ensure!(!message.contains("not-the-one"), "the password is in the condition: {reason}: {message}");

    namespace.apply(secret(address(PASSWORD, "no-such-host"))).await?;
    let (reason, message) = wait_for(&namespace, "no-such-host").await?;
    ensure!(!message.contains(PASSWORD), "the password is in the condition: {reason}: {message}");

    namespace.apply(secret(address(PASSWORD, "database"))).await?;
    namespace.wait("AnalyticsPlatform", "own", "DatabaseReady", "True", Duration::from_secs(180)).await?;
    let platform = Platform::ready(&namespace, "own", spec).await?;
    let (_, client) = platform.admin().await?.tenant("free", 5).await?;
    ensure!(client.get("/v1/usage").await?.expect(200)?["credits"] == 5);

    // No profile source was named: that is said, and an analysis ends with its credits back.
    let (status, _, message) = namespace.condition("AnalyticsPlatform", "own", "ProfileSourceConfigured").await?;
    ensure!(status == "False" && message.contains("profileSource"), "{status}: {message}");
    let job = client.submit("anybody").await?;
    let ended = client.ended(&job, Duration::from_secs(60)).await?;
    ensure!(ended["state"] == "dead", "{ended}");
    ensure!(client.get("/v1/usage").await?.expect(200)?["credits"] == 5);
    namespace.delete_object("AnalyticsPlatform", "own").await?;
    namespace.delete().await
}

fn secret(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": data})
}

fn address(password: &str, host: &str) -> Value {
    let uri = format!("postgres://postgres:{password}@{host}:5432/switchyard");
    json!({"uri": uri, "admin-uri": uri})
}

/// Waits until the database's condition speaks of `word`.
async fn wait_for(namespace: &Namespace, word: &str) -> Result<(String, String)> {
    switchyard_e2e::patiently(Duration::from_secs(150), format!("DatabaseReady speaks of '{word}'"), || async move {
        let (status, reason, message) = namespace.condition("AnalyticsPlatform", "own", "DatabaseReady").await?;
        ensure!(status == "False" && message.contains(word), "{status}: {reason}: {message}");
        Ok((reason, message))
    })
    .await
}

/// A PostgreSQL that is not Switchyard's.
async fn the_users_database(namespace: &Namespace) -> Result<()> {
    let labels = json!({"app": "database"});
    namespace
        .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "stringData": {"password": PASSWORD}}))
        .await?;
    namespace
        .apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "database"},
            "spec": {"selector": labels, "ports": [{"port": 5432}]}}))
        .await?;
    namespace
        .apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "database", "labels": labels}, "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "postgresql", "image": image("postgresql"), "imagePullPolicy": "IfNotPresent",
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
                },
                "volumeMounts": [
                    {"name": "data", "mountPath": "/var/lib/postgresql/data"}, {"name": "run", "mountPath": "/run/postgresql"},
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "password", "mountPath": "/etc/switchyard/secrets/postgresql", "readOnly": true}
                ]
            }],
            "volumes": [
                {"name": "data", "emptyDir": {}}, {"name": "run", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}},
                {"name": "password", "secret": {"secretName": "database"}}
            ]
        }}))
        .await?;
    Ok(())
}
