//! The API server rejects invalid objects with a message that names the field to change.

use anyhow::Result;
use serde_json::{Value, json};
use switchyard_e2e::Cluster;

fn pool(spec: Value) -> Value {
    let mut whole = json!({"platformRef": {"name": "main"}, "kind": "general"});
    merge(&mut whole, spec);
    json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "bad"}, "spec": whole})
}

fn platform(spec: Value) -> Value {
    let mut whole = json!({"environment": "development"});
    merge(&mut whole, spec);
    json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "metadata": {"name": "bad"}, "spec": whole})
}

#[expect(clippy::needless_pass_by_value, reason = "its callers pass literals of json!")]
fn merge(into: &mut Value, from: Value) {
    for (key, value) in from.as_object().expect("an object").clone() {
        into[key] = value;
    }
}

#[tokio::test]
async fn invalid_objects_are_rejected_with_the_field_to_change() -> Result<()> {
    let namespace = Cluster::connect().await?.create_namespace("schema").await?;
    // The fault, the object, and words that the message must contain.
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("negative replicas", pool(json!({"replicas": -1})), &["replicas"]),
        ("unknown lane", pool(json!({"lanes": ["urgent"]})), &["lanes", "urgent", "critical"]),
        ("a lane twice", pool(json!({"lanes": ["low", "low"]})), &["lanes"]),
        ("no lane", pool(json!({"lanes": []})), &["lanes"]),
        (
            "both replicas and scaling",
            pool(json!({"replicas": 2, "scaling": {"min": 1, "max": 3, "targetBacklog": 20}})),
            &["replicas", "scaling"],
        ),
        ("min above max", pool(json!({"scaling": {"min": 5, "max": 3, "targetBacklog": 20}})), &["min", "max"]),
        (
            "both scaling targets",
            pool(json!({"scaling": {"min": 1, "max": 3, "targetWait": "30s", "targetBacklog": 20}})),
            &["targetWait", "targetBacklog"],
        ),
        ("unknown kind", pool(json!({"kind": "gpu"})), &["kind", "general"]),
        ("no concurrency", pool(json!({"concurrency": 0})), &["concurrency"]),
        ("a misspelt duration", pool(json!({"scaling": {"min": 1, "max": 3, "targetWait": "soon"}})), &["targetWait"]),
        ("unknown environment", platform(json!({"environment": "prod"})), &["environment", "production"]),
        ("staging without a database", platform(json!({"environment": "staging"})), &["database"]),
        ("api min above max", platform(json!({"api": {"scaling": {"min": 5, "max": 3}}})), &["min", "max"]),
        (
            "api with both replicas and scaling",
            platform(json!({"api": {"replicas": 2, "scaling": {"min": 1, "max": 3}}})),
            &["replicas", "scaling"],
        ),
        (
            "an endpoint that is no URL",
            platform(json!({"profileSource": {"endpoint": "apify", "actor": "a", "secretRef": {"name": "s"}}})),
            &["endpoint", "http"],
        ),
        ("a negative price", platform(json!({"tiers": {"free": {"price": -1}}})), &["price"]),
    ];
    let mut wrong = Vec::new();
    for (what, object, words) in cases {
        match namespace.rejection(object).await {
            Err(error) => wrong.push(format!("{what}: {error:#}")),
            Ok(message) => {
                println!("{what}: {message}");
                let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
                if !missing.is_empty() {
                    wrong.push(format!("{what}: the message does not contain {missing:?}: {message}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The message for an immutable field says that it is immutable.
    namespace.apply(pool(json!({}))).await?;
    let message = namespace.rejection(pool(json!({"kind": "ai"}))).await?;
    assert!(message.contains("kind") && message.contains("immutable"), "{message}");
    namespace.delete().await
}
