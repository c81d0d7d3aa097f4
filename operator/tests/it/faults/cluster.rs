//! A cluster with a fake API server, in which the operator runs.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use serde_json::{Value, json};
use switchyard_operator::{
    autoscaling::platform_client::PlatformClient,
    controllers::{context::Context, controller, health::Healths},
    crd::conditions::{PLATFORM, POOL},
    kubernetes::{
        cache::store::WatchCache,
        client::with_limits,
        write_fence::{Fence, Moment},
    },
    telemetry::metrics::Metrics,
};
use tokio::time::sleep;
use tower::service_fn;

use crate::common;

use super::{
    digest::without_digests,
    fault::Fault,
    server::Server,
    store::{Key, Store},
};

/// Key of an object in the namespace of the platform.
pub fn key(plural: &str, name: &str) -> Key {
    (plural.to_owned(), "shop".to_owned(), name.to_owned())
}

/// Creates the custom resources, and orphans of an earlier spec.
fn seed(store: &mut Store) {
    let custom = |kind: &str, spec: Value| json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": kind, "metadata": {}, "spec": spec});
    let spec = json!({"environment": "development", "api": {"scaling": {"min": 1, "max": 3}}});
    let created = store.create(&key("analyticsplatforms", "main"), custom("AnalyticsPlatform", spec));
    let uid = created.expect("the store is empty")["metadata"]["uid"].clone();
    let pool = json!({"platformRef": {"name": "main"}, "kind": "cdn", "scaling": {"min": 1, "max": 2}});
    store.create(&key("workerpools", "extra"), custom("WorkerPool", pool)).expect("the store is empty");
    let metadata = json!({
        "labels": {"app.kubernetes.io/managed-by": "switchyard", "switchyard.dev/platform": "main"},
        "ownerReferences": [{"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "name": "main", "uid": uid, "controller": true}],
    });
    for (plural, name, version, kind) in [
        ("jobs", "main-setup-0123456789abcdef", "batch/v1", "Job"),
        ("poddisruptionbudgets", "main-old", "policy/v1", "PodDisruptionBudget"),
    ] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {}});
        store.create(&key(plural, name), object).expect("the store is empty");
    }
}

/// All objects but Events, without the fields that differ between runs.
pub fn objects(server: &Server) -> BTreeMap<String, String> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for field in [
                    "uid",
                    "resourceVersion",
                    "creationTimestamp",
                    "generation",
                    "observedGeneration",
                    "managedFields",
                    "lastTransitionTime",
                ] {
                    fields.remove(field);
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    server.store(|store| {
        let of = store.objects.iter().filter(|(key, _)| key.0 != "events").map(|((plural, _, name), object)| {
            let mut object = object.clone();
            strip(&mut object);
            if plural == "secrets" {
                let keys: Vec<String> = object["data"].as_object().expect("data").keys().cloned().collect();
                object["data"] = json!(keys);
            }
            (without_digests(&format!("{plural}/{name}")), without_digests(&object.to_string()))
        });
        of.collect()
    })
}

/// Text of a condition of a resource.
pub fn condition(server: &Server, plural: &str, name: &str, kind: &str) -> String {
    server.store(|store| {
        let conditions = store.objects[&key(plural, name)]["status"]["conditions"].clone();
        let found = conditions.as_array().into_iter().flatten().find(|one| one["type"] == kind).cloned();
        found.map_or_else(String::new, |one| {
            let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
            format!("{} {}: {}", text("status"), text("reason"), text("message"))
        })
    })
}

/// Starts a cluster in which the operator leads.
pub async fn started(fault: Option<Fault>) -> Server {
    let server = Server::with(fault);
    server.store(seed);
    let fence = Fence::default();
    let transport = service_fn({
        let server = server.clone();
        move |request| server.clone().answer(request)
    });
    let client = Client::new(with_limits(transport, Some(fence.clone())), "default");
    let (cache, writers) = WatchCache::new();
    tokio::spawn({
        let (cache, client) = (cache.clone(), client.clone());
        async move { cache.run(&client, None, writers).await }
    });
    tokio::spawn(async move {
        cache.resync().await;
        let (platforms, pools) = cache.subscribe();
        let context = Context::new(
            client,
            cache,
            crate::common::images(),
            Metrics::default(),
            PlatformClient::new(),
            Healths::default(),
            "test",
        );
        join(controller::run(context.clone(), platforms), controller::run(context, pools)).await;
    });
    tokio::spawn(async move {
        loop {
            fence.renewed(Moment::now());
            sleep(Duration::from_secs(2)).await;
        }
    });
    server
}

/// Asserts that the catalogue has each condition of a resource.
pub fn assert_documented(plural: &str, server: &Server, name: &str) {
    let owner = if plural == "analyticsplatforms" { PLATFORM } else { POOL };
    let conditions = server.store(|store| store.objects[&key(plural, name)]["status"]["conditions"].clone());
    let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
    common::assert_documented(owner, &conditions);
}
