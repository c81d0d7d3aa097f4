//! Fixtures: input for plans.

use std::collections::BTreeMap;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time},
    jiff::{SignedDuration, Timestamp},
};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use switchyard_operator::{
    controllers::platform::{
        generated_secrets::generate, input::PlatformInput, observed::Observed, plan::plan, validate::validate,
    },
    crd::{
        AnalyticsPlatformSpec, WorkerPool,
        conditions::{Documented, documents},
    },
    kubernetes::rollout::{JobState, Rollout},
    resources::{owner::Owner, pod_monitor, prometheus_rule},
    spec::{component::Component, images::Images, secrets::Secrets, settings::Settings},
};

pub fn images() -> Images {
    let image = |name: &str| format!("example.org/{name}:1");
    Images {
        api: image("api"),
        worker: image("worker"),
        ai: image("ai"),
        ai_cuda: Some(image("ai-cuda")),
        postgresql: image("postgresql"),
        rabbitmq: image("rabbitmq"),
        redis: image("redis"),
        s3: image("s3"),
        pull_policy: "IfNotPresent".into(),
        keda_scaler: None,
        priority_classes: Some("switchyard".into()),
    }
}

pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

pub fn owner(kind: &str, name: &str, platform: &str) -> Owner {
    Owner {
        namespace: "shop".into(),
        platform: platform.into(),
        reference: OwnerReference {
            api_version: "switchyard.dev/v1alpha1".into(),
            kind: kind.into(),
            name: name.into(),
            uid: format!("uid-of-{name}"),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
    }
}

pub fn spec(value: Value) -> AnalyticsPlatformSpec {
    serde_json::from_value(value).expect("a spec")
}

pub fn settings(name: &str, value: Value) -> Settings {
    Settings::of("shop", name, &spec(value))
}

pub fn pool(name: &str, value: Value) -> WorkerPool {
    let mut pool = WorkerPool::new(name, serde_json::from_value(value).expect("a spec"));
    pool.metadata.namespace = Some("shop".into());
    pool.metadata.uid = Some(format!("uid-of-{name}"));
    pool.metadata.creation_timestamp = Some(Time(now() - SignedDuration::from_hours(1)));
    pool
}

/// The values of a Secret, or `None` if it does not exist.
pub type MaybeSecret = Option<BTreeMap<String, Vec<u8>>>;

#[expect(clippy::unnecessary_wraps, reason = "callers want the optional Secret of the input")]
pub fn secret(values: &[(&str, &str)]) -> MaybeSecret {
    Some(values.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect())
}

/// The input of a new platform. Its Secrets are generated, deterministically. The cluster has no
/// Prometheus Operator.
pub fn fresh(settings: Settings, named: &[(&str, MaybeSecret)]) -> PlatformInput {
    let to_generate = generate(&settings, &mut StdRng::seed_from_u64(7));
    let mut secrets: BTreeMap<_, _> = named.iter().map(|(name, values)| ((*name).to_owned(), values.clone())).collect();
    secrets.extend(to_generate.iter().map(|generated| (generated.name.clone(), Some(generated.values.clone()))));
    let owner = owner("AnalyticsPlatform", &settings.name, &settings.name);
    let missing = vec![pod_monitor::resource(), prometheus_rule::resource()];
    let observed = Observed { missing, ..Observed::default() };
    PlatformInput { settings, owner, secrets: Secrets(secrets), to_generate, pools: Vec::new(), observed }
}

pub fn ready(desired: i32) -> Rollout {
    Rollout { desired, replicas: desired, ready: desired, complete: true, trouble: None }
}

/// The same platform after its Secrets exist, its bundled services are ready and its setup has
/// succeeded.
pub fn set_up(mut input: PlatformInput) -> PlatformInput {
    input.to_generate.clear();
    input.observed.servers = Component::BACKING.into_iter().map(|component| (component, ready(1))).collect();
    let job = plan(&validate(input.clone()), &images(), now()).setup_job.expect("a setup");
    input.observed.jobs.insert(job, JobState::Succeeded);
    input
}

pub fn own_services() -> Value {
    json!({
        "environment": "staging",
        "database": {"secretRef": {"name": "db"}, "maxConnections": 200, "pooler": "transaction"},
        "broker": {"secretRef": {"name": "mq"}},
        "cache": {"secretRef": {"name": "redis"}},
        "objectStore": {"endpoint": "https://s3.example.org", "bucket": "images", "secretRef": {"name": "s3"}},
        "profileSource": {"secretRef": {"name": "apify"}},
        "api": {"scaling": {"min": 2, "max": 6}, "podTemplate": {"spec": {"priorityClassName": "high",
            "containers": [{"name": "api", "env": [{"name": "RUST_LOG", "value": "debug"}]}]}}}
    })
}

pub fn own_secrets() -> Vec<(&'static str, MaybeSecret)> {
    let uri = "postgres://app:hidden@db.example.org:6432/app";
    vec![
        (
            "db",
            secret(&[
                ("uri", uri),
                ("admin-uri", "postgres://admin:hidden@db.example.org:5432/app"),
                ("replica-uris", uri),
                ("ca.crt", "hidden"),
                ("other", "x"),
            ]),
        ),
        ("mq", secret(&[("uri", "amqps://app:hidden@mq.example.org:5671/app"), ("ca.crt", "hidden")])),
        ("redis", secret(&[("uri", "rediss://:hidden@redis.example.org:6379/0"), ("ca.crt", "hidden")])),
        ("s3", secret(&[("access-key", "hidden"), ("secret-key", "hidden")])),
        ("apify", secret(&[("token", "hidden")])),
    ]
}

/// Asserts that the catalogue of `owner`, `PLATFORM` or `POOL`, has each of the conditions.
pub fn assert_documented(owner: &[Documented], conditions: &[Condition]) {
    for Condition { type_, reason, status, .. } in conditions {
        assert!(documents(owner, type_, reason, status), "the catalogue has no {type_}={status} {reason}");
    }
}
