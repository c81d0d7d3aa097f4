//! Fixtures for GitOps tools: objects in each state from their creation to their deletion.
//!
//! `e2e/gitops` evaluates the files with the health checks of Argo CD and Flux.
//! `UPDATE_FIXTURES=1` rewrites them.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
};

use crate::common::{assert_documented, fresh, now, own_secrets, own_services, pool, ready, set_up, settings};
use crate::planned::{find, planned, planned_pool, pool_input};
use serde_json::{Value, json};
use switchyard_operator::{
    controllers::{
        platform::{input::PlatformInput, status::status, validate::validate},
        worker_pool,
    },
    crd::{
        AnalyticsPlatformStatus, WorkerPool, WorkerPoolStatus,
        conditions::{PLATFORM, POOL},
    },
    kubernetes::rollout::{JobState, Report, Rollout},
    resources::manifest::Manifest,
    spec::component::Component,
};

/// Generation of the spec that every status describes.
const GENERATION: i64 = 3;

/// An object with its expected health.
struct Fixture {
    file: String,
    kstatus: &'static str,
    argocd: &'static str,
    object: Value,
}

fn fixture(file: &str, kstatus: &'static str, argocd: &'static str, object: Value) -> Fixture {
    Fixture { file: format!("{file}.json"), kstatus, argocd, object }
}

fn object(kind: &str, name: &str, spec: &Value, status: Option<Value>) -> Value {
    let mut object = json!({
        "apiVersion": "switchyard.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "shop", "generation": GENERATION, "uid": format!("uid-of-{name}"),
            "creationTimestamp": now().to_string(),
        },
        "spec": spec,
    });
    if let Some(status) = status {
        object["status"] = status;
    }
    object
}

/// The object after another change of its spec.
fn changed(mut object: Value) -> Value {
    object["metadata"]["generation"] = json!(GENERATION + 1);
    object
}

/// The object during its deletion.
fn deleted(mut object: Value) -> Value {
    object["metadata"]["deletionTimestamp"] = json!(now().to_string());
    object["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    object
}

/// A reconciled platform. The digest in the name of the setup Job is replaced.
fn platform(spec: &Value, input: &PlatformInput) -> Value {
    let plan = planned(input);
    let reported = status(
        &AnalyticsPlatformStatus::default(),
        Some(GENERATION),
        &validate(input.clone()),
        &plan,
        None,
        None,
        now(),
    );
    assert_documented(PLATFORM, &reported.conditions);
    let mut reported = serde_json::to_string(&reported).expect("JSON");
    if let Some(job) = &plan.setup_job {
        reported = reported.replace(job.as_str(), "main-setup-0123456789");
    }
    object("AnalyticsPlatform", "main", spec, Some(serde_json::from_str(&reported).expect("JSON")))
}

/// The input with a ready API and ready default pools.
fn serving(mut input: PlatformInput) -> PlatformInput {
    input.pools = ["general", "cdn", "discovery", "ai"]
        .map(|kind| {
            let mut pool = pool(&format!("main-{kind}"), json!({"platformRef": {"name": "main"}, "kind": kind}));
            pool.metadata.owner_references = Some(vec![input.owner.reference.clone()]);
            pool
        })
        .to_vec();
    input.observed.api = Some(ready(1));
    input.observed.pools =
        input.pools.iter().filter_map(|pool| Some((pool.metadata.name.clone()?, ready(1)))).collect();
    input
}

fn of(spec: &Value) -> PlatformInput {
    fresh(settings("main", spec.clone()), &own_secrets())
}

fn platforms() -> Vec<Fixture> {
    let development = json!({"environment": "development"});
    let staging = own_services();
    let mut paused = staging.clone();
    paused["paused"] = json!(true);
    let over_budget = json!({"environment": "development", "database": {"maxConnections": 100}, "api": {"connections": {"size": 90}}});

    let mut missing = of(&staging);
    missing.secrets.0.insert("db".into(), None);
    let mut failed = serving(set_up(of(&staging)));
    let job = failed.observed.jobs.keys().next().cloned().expect("a Job");
    let report = Report {
        component: Some(Component::Broker),
        message: "RabbitMQ at mq.example.org refused the login of user app".into(),
    };
    failed.observed.jobs.insert(job, JobState::Failed { at: now(), report });
    let mut rolling = serving(set_up(of(&staging)));
    rolling.observed.api = Some(Rollout { complete: false, replicas: 3, ..ready(2) });
    let set_up_runs = {
        let mut input = set_up(of(&staging));
        input.observed.jobs.clear();
        input
    };
    let all_ready = platform(&staging, &serving(set_up(of(&staging))));

    vec![
        fixture("platform-fresh", "InProgress", "Progressing", object("AnalyticsPlatform", "main", &staging, None)),
        fixture("platform-starting-servers", "InProgress", "Progressing", platform(&development, &of(&development))),
        fixture("platform-setting-up", "InProgress", "Progressing", platform(&staging, &set_up_runs)),
        fixture("platform-starting-workloads", "InProgress", "Progressing", platform(&staging, &set_up(of(&staging)))),
        fixture("platform-rolling-out", "InProgress", "Progressing", platform(&staging, &rolling)),
        fixture("platform-ready", "Current", "Healthy", all_ready.clone()),
        fixture("platform-paused", "Current", "Suspended", platform(&paused, &serving(set_up(of(&paused))))),
        fixture("platform-without-its-secret", "Failed", "Degraded", platform(&staging, &missing)),
        fixture(
            "platform-over-budget",
            "Failed",
            "Degraded",
            platform(&over_budget, &serving(set_up_as(&over_budget))),
        ),
        fixture("platform-setup-failed", "Failed", "Degraded", platform(&staging, &failed)),
        fixture("platform-changed", "InProgress", "Progressing", changed(all_ready.clone())),
        fixture("platform-deleted", "Terminating", "Progressing", deleted(all_ready)),
    ]
}

/// A platform that was set up before its spec became `spec`.
fn set_up_as(spec: &Value) -> PlatformInput {
    let input = set_up(of(&json!({"environment": spec["environment"]})));
    PlatformInput { settings: settings("main", spec.clone()), ..input }
}

/// A reconciled pool.
fn worker_pool(pool: &WorkerPool, input: &worker_pool::input::PoolInput) -> Value {
    let plan = planned_pool(input);
    let previous = WorkerPoolStatus::default();
    let reported = worker_pool::status::status(
        &previous,
        Some(GENERATION),
        &worker_pool::validate::validate(input.clone()),
        &plan,
        None,
        now(),
    );
    assert_documented(POOL, &reported.conditions);
    let spec = serde_json::to_value(&pool.spec).expect("JSON");
    object("WorkerPool", "extra", &spec, Some(serde_json::to_value(reported).expect("JSON")))
}

fn pools() -> Vec<Fixture> {
    let extra = pool("extra", json!({"platformRef": {"name": "main"}, "kind": "cdn", "replicas": 2}));
    let greedy = pool(
        "extra",
        json!({"platformRef": {"name": "main"}, "kind": "cdn", "replicas": 2, "connections": {"size": 500}}),
    );
    let main = set_up(of(&own_services()));
    let with = |rollout: Option<Rollout>| worker_pool::input::PoolInput { rollout, ..pool_input(&main, &extra) };
    let none = worker_pool::input::PoolInput { platform: None, ..with(None) };
    let mut waiting = with(None);
    let mut paused = with(Some(ready(2)));
    if let (Some(one), Some(other)) = (&mut waiting.platform, &mut paused.platform) {
        one.setup_job = None;
        other.settings.paused = true;
    }
    let stuck = Rollout { desired: 2, trouble: Some("exceeded quota: pods".into()), ..Rollout::default() };
    let all_ready = worker_pool(&extra, &with(Some(ready(2))));
    let spec = serde_json::to_value(&extra.spec).expect("JSON");

    vec![
        fixture("pool-fresh", "InProgress", "Progressing", object("WorkerPool", "extra", &spec, None)),
        fixture("pool-waiting-for-its-platform", "InProgress", "Progressing", worker_pool(&extra, &waiting)),
        fixture("pool-starting", "InProgress", "Progressing", worker_pool(&extra, &with(None))),
        fixture("pool-whose-pods-do-not-start", "InProgress", "Progressing", worker_pool(&extra, &with(Some(stuck)))),
        fixture("pool-ready", "Current", "Healthy", all_ready.clone()),
        fixture("pool-paused", "Current", "Suspended", worker_pool(&extra, &paused)),
        fixture("pool-without-a-platform", "Failed", "Degraded", worker_pool(&extra, &none)),
        fixture("pool-over-budget", "Failed", "Degraded", worker_pool(&greedy, &pool_input(&main, &greedy))),
        fixture("pool-changed", "InProgress", "Progressing", changed(all_ready.clone())),
        fixture("pool-deleted", "Terminating", "Progressing", deleted(all_ready)),
    ]
}

#[test]
fn gitops_fixtures_match_the_status_of_the_operator() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/gitops/fixtures");
    let expected: BTreeMap<String, String> = platforms()
        .into_iter()
        .chain(pools())
        .map(|fixture| {
            let Fixture { file, kstatus, argocd, object } = fixture;
            let file_text = json!({"kstatus": kstatus, "argocd": argocd, "object": object});
            (file, format!("{}\n", serde_json::to_string_pretty(&file_text).expect("JSON")))
        })
        .collect();
    if env::var_os("UPDATE_FIXTURES").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        for (file, text) in &expected {
            fs::write(folder.join(file), text).expect("a file");
        }
    }
    let found: BTreeMap<String, String> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}: run this test with UPDATE_FIXTURES=1", folder.display()))
        .map(|entry| {
            let entry = entry.expect("an entry");
            (
                entry.file_name().into_string().expect("a name in UTF-8"),
                fs::read_to_string(entry.path()).expect("a text"),
            )
        })
        .collect();
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected), "run this test with UPDATE_FIXTURES=1");
    for (file, text) in &expected {
        assert!(found[file] == *text, "{file} is not what the operator says: run this test with UPDATE_FIXTURES=1");
    }
}

/// All objects that the operator applies for platforms and for a pool of each kind, at every stage.
fn applied() -> Vec<Manifest> {
    let mut all = Vec::new();
    for spec in [json!({"environment": "development"}), own_services()] {
        let first = of(&spec);
        let mut during = set_up(first.clone());
        during.observed.jobs.clear();
        let later = serving(set_up(first.clone()));
        for input in [&first, &during, &later] {
            let plan = planned(input);
            all.extend(plan.create.into_iter().chain(plan.apply));
        }
        let plain = pool("extra", json!({"platformRef": {"name": "main"}, "kind": "general"}));
        let full = pool(
            "extra",
            json!({
                "platformRef": {"name": "main"}, "kind": "ai", "lanes": ["high"], "scaling": {"min": 1, "max": 4, "targetWait": "30s"},
                "gpu": {"count": 1, "nodeSelector": {"gpu": "yes"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
            }),
        );
        for pool in [plain, full] {
            all.extend(planned_pool(&pool_input(&later, &pool)).apply);
        }
    }
    all
}

/// Paths below `value` with a null, an empty list or an empty object. An empty selector is allowed:
/// it selects everything.
fn empty(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(path.to_owned()),
        Value::Array(list) if list.is_empty() => found.push(path.to_owned()),
        Value::Object(map) if map.is_empty() && !path.ends_with("Selector") => found.push(path.to_owned()),
        Value::Array(list) => list.iter().for_each(|child| empty(child, &format!("{path}[]"), found)),
        Value::Object(map) => map.iter().for_each(|(key, child)| empty(child, &format!("{path}.{key}"), found)),
        _ => {}
    }
}

#[test]
fn applied_objects_have_no_empty_fields() {
    let all = applied();
    let kinds: BTreeSet<&str> = all.iter().map(|manifest| manifest.resource.kind.as_str()).collect();
    assert!(
        kinds.is_superset(&["Deployment", "Job", "NetworkPolicy", "Secret", "StatefulSet", "WorkerPool"].into()),
        "{kinds:?}"
    );
    for manifest in &all {
        let mut found = Vec::new();
        empty(&serde_json::to_value(&manifest.object).expect("JSON"), "", &mut found);
        assert!(found.is_empty(), "{}: {found:?}", manifest.title());
    }
}

#[test]
fn only_the_owner_of_the_replicas_sets_them() {
    let main = serving(set_up(of(&own_services())));
    let scaled = pool(
        "extra",
        json!({"platformRef": {"name": "main"}, "kind": "cdn", "scaling": {"min": 2, "max": 6, "targetWait": "30s"}}),
    );
    let replicas = |rollout: Option<Rollout>| {
        let input = worker_pool::input::PoolInput { rollout, ..pool_input(&main, &scaled) };
        let plan = planned_pool(&input);
        find(&plan.apply, "Deployment/extra").object.data["spec"]["replicas"].clone()
    };
    assert_eq!(replicas(None), json!(2), "it starts at its minimum");
    assert_eq!(replicas(Some(ready(5))), Value::Null, "and is then the autoscaler's");

    // A pipeline may own any other field of a default pool, and `kubectl scale` its replicas.
    let plan = planned(&main);
    for kind in ["general", "cdn", "discovery", "ai"] {
        let spec = find(&plan.apply, &format!("WorkerPool/main-{kind}")).object.data["spec"].clone();
        assert_eq!(spec, json!({"platformRef": {"name": "main"}, "kind": kind}));
    }
}

#[test]
fn operator_objects_carry_no_release_labels() {
    // Argo CD can be configured to track its objects by this label, and prunes those that are not
    // in Git.
    for manifest in applied() {
        let labels = manifest.object.metadata.labels.clone().unwrap_or_default();
        assert!(!labels.contains_key("app.kubernetes.io/instance"), "{}", manifest.title());
    }
}
