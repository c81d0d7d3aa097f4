//! A condition reports a wrong Secret, and a corrected Secret makes the platform Ready.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use switchyard_e2e::{Cluster, Namespace, Platform, eventually, image};

const PASSWORD: &str = "the-users-own-password";

#[tokio::test]
async fn conditions_report_wrong_secrets_until_they_are_corrected() -> Result<()> {
    let namespace = Cluster::connect().await?.create_namespace("secrets").await?;
    deploy_user_database(&namespace).await?;
    let spec = json!({"environment": "development", "database": {"secretRef": {"name": "db"}}});
    let manifest = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "own"}, "spec": spec});
    let database_not_ready = |limit| {
        let namespace = namespace.clone();
        async move { namespace.wait_for_condition("AnalyticsPlatform", "own", "DatabaseReady", "False", limit).await }
    };

    namespace.apply(manifest).await?;
    let (reason, message) = database_not_ready(Duration::from_mins(1)).await?;
    ensure!(message.contains("db"), "a missing Secret: {reason}: {message}");
    let (ready, ..) = namespace.condition("AnalyticsPlatform", "own", "Ready").await?;
    ensure!(ready == "False", "Ready is {ready}");

    namespace.apply(secret(json!({"url": "postgres://nobody@nowhere/none"}))).await?;
    let (reason, message) = wait_for_message(&namespace, "uri").await?;
    ensure!(message.contains("db"), "a Secret without the key: {reason}: {message}");

    namespace.apply(secret(connection("not-the-one", "database"))).await?;
    let (reason, message) = wait_for_message(&namespace, "password").await?;
    ensure!(!message.contains("not-the-one"), "the password is in the condition: {reason}: {message}");

    namespace.apply(secret(connection(PASSWORD, "no-such-host"))).await?;
    let (reason, message) = wait_for_message(&namespace, "no-such-host").await?;
    ensure!(!message.contains(PASSWORD), "the password is in the condition: {reason}: {message}");

    namespace.apply(secret(connection(PASSWORD, "database"))).await?;
    namespace.wait_for_condition("AnalyticsPlatform", "own", "DatabaseReady", "True", Duration::from_mins(3)).await?;
    let platform = Platform::ready(&namespace, "own", spec).await?;
    let (_, client) = platform.admin().await?.create_tenant("free", 5).await?;
    ensure!(client.get("/v1/usage").await?.expect(200)?["credits"] == 5);

    // Without a profile source a condition says so, and an analysis is dead and refunded.
    let (status, _, message) = namespace.condition("AnalyticsPlatform", "own", "ProfileSourceConfigured").await?;
    ensure!(status == "False" && message.contains("profileSource"), "{status}: {message}");
    let job = client.submit("anybody").await?;
    let ended = client.wait_until_finished(&job, Duration::from_mins(1)).await?;
    ensure!(ended["state"] == "dead", "{ended}");
    ensure!(client.get("/v1/usage").await?.expect(200)?["credits"] == 5);
    namespace.delete_object("AnalyticsPlatform", "own").await?;
    namespace.delete().await
}

#[expect(clippy::needless_pass_by_value, reason = "its callers pass literals of json!")]
fn secret(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": data})
}

fn connection(password: &str, host: &str) -> Value {
    let uri = format!("postgres://postgres:{password}@{host}:5432/switchyard");
    json!({"uri": uri, "admin-uri": uri})
}

/// Waits until `DatabaseReady` is False with a message that contains `word`.
async fn wait_for_message(namespace: &Namespace, word: &str) -> Result<(String, String)> {
    eventually(Duration::from_secs(150), format!("the message of DatabaseReady contains '{word}'"), || async move {
        let (status, reason, message) = namespace.condition("AnalyticsPlatform", "own", "DatabaseReady").await?;
        ensure!(status == "False" && message.contains(word), "{status}: {reason}: {message}");
        Ok((reason, message))
    })
    .await
}

/// Deploys a PostgreSQL that Switchyard does not manage.
async fn deploy_user_database(namespace: &Namespace) -> Result<()> {
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
