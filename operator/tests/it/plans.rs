//! Plans: golden files of whole platforms, and properties of every plan.
//!
//! Review a change of the golden plans by the snapshots `golden_summary_of_*`.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{fresh, images, now, own_secrets, own_services, pool, ready, set_up, settings};
use crate::planned::{find, planned, planned_pool, pool_input};
use crate::summary::summary;
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job};
use proptest::prelude::*;
use serde_json::{Value, json};
use switchyard_operator::{
    controllers::{
        platform::{
            input::PlatformInput,
            plan::{Plan, SETUP_RETRY, Stage, plan},
            validate::validate,
        },
        worker_pool,
    },
    kubernetes::rollout::{JobState, Report},
    resources::manifest::Manifest,
    spec::{component::Component, names},
};

/// Every manifest of a plan, as YAML documents.
fn yaml(plan: &Plan) -> String {
    let mut text = format!("# stage: {:?}\n", plan.stage);
    for (what, manifests) in [("create", &plan.create), ("apply", &plan.apply)] {
        for manifest in manifests {
            text += &format!("--- # {what}\n{}", serde_norway::to_string(&manifest.object).expect("YAML"));
        }
    }
    text
}

fn template_of(plan: &worker_pool::plan::Plan) -> Value {
    let deployment = plan.apply.iter().find(|m| m.resource.kind == "Deployment").expect("a Deployment");
    deployment.object.data["spec"]["template"].clone()
}

fn development_at_first() -> PlatformInput {
    fresh(settings("main", json!({"environment": "development"})), &[])
}

fn development() -> PlatformInput {
    set_up(development_at_first())
}

fn staging() -> PlatformInput {
    set_up(fresh(settings("main", own_services()), &own_secrets()))
}

fn production() -> PlatformInput {
    let mut spec = own_services();
    spec["environment"] = json!("production");
    spec["api"] = json!({});
    set_up(fresh(settings("main", spec), &own_secrets()))
}

#[test]
fn golden_development_at_first() {
    insta::assert_snapshot!(yaml(&planned(&development_at_first())));
}

#[test]
fn golden_development_after_setup() {
    insta::assert_snapshot!(yaml(&planned(&development())));
}

#[test]
fn golden_staging_with_external_services() {
    insta::assert_snapshot!(yaml(&planned(&staging())));
}

#[test]
fn golden_production_with_external_services() {
    insta::assert_snapshot!(yaml(&planned(&production())));
}

#[test]
fn golden_summary_of_development() {
    let at_first = planned(&development_at_first());
    insta::assert_snapshot!(summary(&planned(&development()), ("development at first", &at_first)));
}

#[test]
fn golden_summary_of_staging() {
    insta::assert_snapshot!(summary(&planned(&staging()), ("development", &planned(&development()))));
}

#[test]
fn golden_summary_of_production() {
    insta::assert_snapshot!(summary(&planned(&production()), ("staging", &planned(&staging()))));
}

#[test]
fn golden_setup_job() {
    let mut input = fresh(settings("main", json!({"environment": "development"})), &[]);
    input.to_generate.clear();
    input.observed.servers = Component::BACKING.into_iter().map(|component| (component, ready(1))).collect();
    let plan = planned(&input);
    let name = plan.setup_job.clone().expect("a setup");
    let text = serde_norway::to_string(&find(&plan.apply, &format!("Job/{name}")).object).expect("YAML");
    insta::assert_snapshot!(text.replace(&name, "main-setup-DIGEST"));
    let job: Job =
        serde_json::from_value(serde_json::to_value(&find(&plan.apply, &format!("Job/{name}")).object).expect("JSON"))
            .expect("a Job");
    assert_eq!(job.spec.and_then(|spec| spec.backoff_limit), Some(0));
}

#[test]
fn golden_pool_with_a_gpu() {
    let platform = fresh(settings("main", own_services()), &own_secrets());
    let pool = pool(
        "fast-ai",
        json!({
            "platformRef": {"name": "main"}, "kind": "ai", "lanes": ["high", "critical"], "scaling": {"min": 1, "max": 4, "targetWait": "30s"},
            "connections": {"size": 10, "overflow": 5}, "concurrency": 4,
            "gpu": {"count": 1, "nodeSelector": {"gpu": "yes"}, "tolerations": [{"key": "gpu", "operator": "Exists"}], "runtimeClassName": "nvidia"},
            "resources": {"requests": {"cpu": "2"}}, "podTemplate": {"metadata": {"annotations": {"team": "ml"}}}
        }),
    );
    let plan = planned_pool(&pool_input(&platform, &pool));
    assert_eq!((&plan.stage, plan.connections, plan.scaled), (&worker_pool::plan::Stage::Running, Some(3), true));
    let text: String =
        plan.apply.iter().map(|m| format!("---\n{}", serde_norway::to_string(&m.object).expect("YAML"))).collect();
    insta::assert_snapshot!(text);
}

#[test]
fn workloads_start_only_after_a_successful_setup() {
    let mut input = set_up(fresh(settings("main", json!({"environment": "development"})), &[]));
    let kinds =
        |input: &PlatformInput| planned(input).apply.iter().map(|m| m.resource.kind.clone()).collect::<BTreeSet<_>>();
    assert!(kinds(&input).contains("Deployment") && kinds(&input).contains("WorkerPool"));
    let job = input.observed.jobs.keys().next().cloned().expect("a Job");
    for state in [
        JobState::Running { trouble: None },
        JobState::Failed { at: now(), report: Report { component: None, message: "no".into() } },
    ] {
        input.observed.jobs.insert(job.clone(), state);
        assert!(!kinds(&input).contains("Deployment") && !kinds(&input).contains("WorkerPool"));
    }
}

#[test]
fn a_failed_setup_is_retried_after_a_delay_or_at_once_for_a_new_secret() {
    let mut input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    let job = planned(&input).setup_job.expect("a setup");
    input.observed.jobs.insert(
        job.clone(),
        JobState::Failed { at: now(), report: Report { component: Some(Component::Database), message: "no".into() } },
    );
    assert!(planned(&input).delete_jobs.is_empty());
    let due = plan(&validate(input.clone()), &images(), now() + SETUP_RETRY);
    assert_eq!(due.delete_jobs, std::slice::from_ref(&job));

    input.secrets.0.insert("mq".into(), crate::common::secret(&[("uri", "amqp://app:new@mq.example.org/app")]));
    let changed = planned(&input);
    assert_ne!(changed.setup_job.as_ref(), Some(&job));
    assert_eq!(changed.delete_jobs, [job]);
    assert!(matches!(changed.stage, Stage::SettingUp { .. }));
}

#[test]
fn a_new_profile_source_token_needs_no_setup() {
    let mut input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    let before = planned(&input);
    input.secrets.0.insert("apify".into(), crate::common::secret(&[("token", "new")]));
    let after = planned(&input);
    assert_eq!(before.setup_job, after.setup_job);
    assert_eq!(
        find(&before.apply, "Deployment/main-api"),
        find(&after.apply, "Deployment/main-api"),
        "the API does not mount it"
    );

    let general = pool("main-general", json!({"platformRef": {"name": "main"}, "kind": "general"}));
    let cdn = pool("main-cdn", json!({"platformRef": {"name": "main"}, "kind": "cdn"}));
    let old = set_up(fresh(settings("main", own_services()), &own_secrets()));
    let of = |input: &PlatformInput, pool| template_of(&planned_pool(&pool_input(input, pool)));
    assert_ne!(of(&old, &general), of(&input, &general), "general workers mount it");
    assert_eq!(of(&old, &cdn), of(&input, &cdn), "cdn workers do not");
}

#[test]
fn invalid_secrets_are_reported_and_workloads_stay() {
    let mut input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    input.secrets.0.insert("db".into(), None);
    input.secrets.0.insert("mq".into(), crate::common::secret(&[("url", "amqp://mq")]));
    input.secrets.0.insert("redis".into(), crate::common::secret(&[("uri", "hidden-and-no-address")]));
    let plan = planned(&input);
    let Stage::Refused(problems) = &plan.stage else { panic!("{:?}", plan.stage) };
    let words: Vec<String> =
        problems.iter().map(|p| format!("{} {}: {}", p.component.condition(), p.reason, p.message)).collect();
    insta::assert_snapshot!(words.join("\n"));
    assert!(plan.apply.is_empty() && plan.delete_jobs.is_empty(), "nothing is changed or taken away");
}

#[test]
fn an_invalid_replica_uri_is_reported_without_its_password() {
    let good = "postgres://app:hidden@db.example.org:5432/app";
    let refused = |replicas: &str| {
        let mut input = fresh(settings("main", own_services()), &own_secrets());
        input.secrets.0.insert("db".into(), crate::common::secret(&[("uri", good), ("replica-uris", replicas)]));
        match planned(&input).stage {
            Stage::Refused(problems) => problems.into_iter().map(|problem| problem.message).collect::<String>(),
            _ => String::new(),
        }
    };
    for replicas in ["", "\n", &format!("{good},{good}"), &format!("{good}\n{good}\n")] {
        assert_eq!(refused(replicas), "", "{replicas}");
    }
    let words = refused(&format!("{good}, mysql://app:hidden@db.example.org/app"));
    assert!(words.contains("replica-uris") && !words.contains("hidden"), "{words}");
}

#[test]
fn a_pool_keeps_its_pods_and_scales_before_the_setup() {
    let platform = set_up(fresh(settings("main", own_services()), &own_secrets()));
    let pool = pool("main-cdn", json!({"platformRef": {"name": "main"}, "kind": "cdn", "replicas": 3}));
    let mut input = pool_input(&platform, &pool);
    if let Some(platform) = &mut input.platform {
        platform.setup_job = Some("an-older-one".into());
    }
    let plan = planned_pool(&input);
    assert!(plan.apply.is_empty() && plan.only_replicas.is_none(), "nothing runs yet");
    input.rollout = Some(ready(1));
    let plan = planned_pool(&input);
    assert_eq!((plan.apply.len(), plan.only_replicas), (0, Some(3)));
}

#[test]
fn replicas_of_an_autoscaled_deployment_are_set_once() {
    let mut input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    let replicas = |input: &PlatformInput| {
        let plan = planned(input);
        assert_eq!(plan.scaled, ["main-api"]);
        find(&plan.apply, "Deployment/main-api").object.data["spec"]["replicas"].clone()
    };
    assert_eq!(replicas(&input), json!(2));
    input.observed.api = Some(ready(5));
    assert_eq!(replicas(&input), Value::Null);
}

#[test]
fn every_pod_passes_the_restricted_standard() {
    let input = set_up(fresh(settings("main", json!({"environment": "development"})), &[]));
    let mut all = planned(&input).apply;
    for kind in ["general", "ai"] {
        let pool = pool(kind, json!({"platformRef": {"name": "main"}, "kind": kind}));
        all.extend(planned_pool(&pool_input(&input, &pool)).apply);
    }
    let mut input = input;
    input.observed.jobs.clear();
    all.extend(planned(&input).apply);
    let mut seen = 0;
    for manifest in &all {
        let pod = &manifest.object.data["spec"]["template"]["spec"];
        if pod.is_null() {
            continue;
        }
        seen += 1;
        let title = manifest.title();
        assert_eq!(pod["automountServiceAccountToken"], false, "{title}");
        assert_eq!(pod["enableServiceLinks"], false, "{title}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{title}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{title}");
        for container in pod["containers"].as_array().expect("containers") {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{title}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{title}");
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{title}");
            assert!(
                container["resources"]["requests"]["memory"].is_string()
                    && container["resources"]["limits"]["memory"].is_string(),
                "{title}"
            );
        }
    }
    assert_eq!(seen, 4 + 1 + 2 + 4 + 1, "servers, API, pools, servers again, setup");
}

#[test]
fn each_pod_mounts_only_its_own_secrets() {
    let input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    let files = |template: &Value| -> BTreeSet<String> {
        template["spec"]["volumes"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|volume| volume["projected"]["sources"].as_array().cloned().unwrap_or_default())
            .flat_map(|source| source["secret"]["items"].as_array().cloned().unwrap_or_default())
            .map(|item| item["path"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let common = [
        "database/uri",
        "database/replica-uris",
        "database/ca.crt",
        "broker/uri",
        "broker/ca.crt",
        "cache/uri",
        "cache/ca.crt",
    ];
    let with = |more: &[&str]| set(&[common.as_slice(), more].concat());
    let api = planned(&input);
    let api = find(&api.apply, "Deployment/main-api");
    assert_eq!(files(&api.object.data["spec"]["template"]), with(&["database-roles/analytics_api", "admin/key"]));
    let of = |kind: &str| {
        let pool = pool(kind, json!({"platformRef": {"name": "main"}, "kind": kind}));
        files(&template_of(&planned_pool(&pool_input(&input, &pool))))
    };
    assert_eq!(of("general"), with(&["database-roles/analytics_workers", "profile-source/token"]));
    assert_eq!(
        of("cdn"),
        with(&["database-roles/analytics_workers", "object-store/access-key", "object-store/secret-key"])
    );
    assert_eq!(of("ai"), with(&["database-roles/analytics_ai_workers"]));
    assert_eq!(of("discovery"), with(&["database-roles/analytics_discovery"]));
}

/// Names and specs that the schema allows.
fn specs() -> impl Strategy<Value = (String, Value)> {
    let name = "[a-z]([-a-z0-9]{0,38}[a-z0-9])?";
    let replicas = prop_oneof![
        Just(json!({})),
        (0i32..10).prop_map(|n| json!({"replicas": n})),
        (1i32..5, 0i32..5).prop_map(|(min, more)| json!({"scaling": {"min": min, "max": min + more}})),
    ];
    let lane = prop::option::of((1i32..5000, 1i32..50, 1u32..900));
    (name, replicas, lane, any::<[bool; 4]>()).prop_map(|(name, api, lane, own)| {
        let mut spec = json!({"environment": "development", "api": api});
        if let Some((capacity, max_running, seconds)) = lane {
            spec["lanes"] =
                json!({"low": {"capacity": capacity, "maxRunning": max_running, "timeout": format!("{seconds}s")}});
        }
        let all = own_services();
        for (field, own) in ["database", "broker", "cache", "objectStore"].iter().zip(own) {
            if own {
                spec[*field] = all[*field].clone();
            }
        }
        (name, spec)
    })
}

fn titles(plan: &Plan) -> Vec<String> {
    plan.create.iter().chain(&plan.apply).map(Manifest::title).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn plans_are_deterministic((name, spec) in specs()) {
        let input = set_up(fresh(settings(&name, spec.clone()), &own_secrets()));
        let again = set_up(fresh(settings(&name, spec), &own_secrets()));
        prop_assert_eq!(planned(&input), planned(&again));
    }

    #[test]
    fn names_are_unique_and_at_most_63_characters((name, spec) in specs()) {
        let first = fresh(settings(&name, spec), &own_secrets());
        let later = set_up(first.clone());
        let mut unset = later.clone();
        unset.observed.jobs.clear();
        for input in [first, later, unset] {
            let titles = titles(&planned(&input));
            prop_assert_eq!(titles.iter().collect::<BTreeSet<_>>().len(), titles.len(), "{:?}", titles);
            for title in &titles {
                let name = title.split('/').nth(1).unwrap_or_default();
                let longest = match title.split('/').next() {
                    // A label of the pods holds this name with a suffix of ten characters.
                    Some("StatefulSet") => 52,
                    _ => 63,
                };
                prop_assert!(name.len() <= longest, "{} has {} characters", title, name.len());
            }
        }
    }

    #[test]
    fn every_object_is_owned_by_the_platform((name, spec) in specs()) {
        let input = fresh(settings(&name, spec), &own_secrets());
        let ours = set_up(input.clone());
        for manifest in planned(&input).create.iter().chain(&planned(&ours).apply) {
            let owners = manifest.object.metadata.owner_references.clone().unwrap_or_default();
            prop_assert!(owners.iter().any(|o| o.uid == input.owner.reference.uid && o.controller == Some(true)), "{}", manifest.title());
            let labels = manifest.object.metadata.labels.clone().unwrap_or_default();
            prop_assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some(names::MANAGED_BY));
            prop_assert!(!serde_json::to_string(&manifest.object).expect("JSON").contains("[]"), "an empty list in {}", manifest.title());
        }
    }

    #[test]
    fn scaling_changes_no_pod_template(before in 0i32..8, after in 0i32..8, kind in prop::sample::select(vec!["general", "cdn", "discovery", "ai"])) {
        let platform = set_up(fresh(settings("main", json!({"environment": "development", "api": {"replicas": before}})), &[]));
        let scaled = set_up(fresh(settings("main", json!({"environment": "development", "api": {"replicas": after}})), &[]));
        let api = |input: &PlatformInput| find(&planned(input).apply, "Deployment/main-api").object.data["spec"]["template"].clone();
        prop_assert_eq!(api(&platform), api(&scaled));
        prop_assert_eq!(planned(&platform).setup_job, planned(&scaled).setup_job, "scaling needs no setup");

        let of = |replicas: i32| {
            let pool = pool("p", json!({"platformRef": {"name": "main"}, "kind": kind, "replicas": replicas}));
            planned_pool(&pool_input(&platform, &pool))
        };
        prop_assert_eq!(template_of(&of(before)), template_of(&of(after)));
        let count = |plan: &worker_pool::plan::Plan| -> Option<i32> {
            let value = serde_json::to_value(&plan.apply.iter().find(|m| m.resource.kind == "Deployment")?.object).ok()?;
            serde_json::from_value::<Deployment>(value).ok()?.spec?.replicas
        };
        prop_assert_eq!(count(&of(after)), Some(after));
    }

    #[test]
    fn secret_values_appear_only_in_secrets((name, spec) in specs()) {
        let input = fresh(settings(&name, spec), &own_secrets());
        let values: BTreeMap<_, _> = input.to_generate.iter().flat_map(|g| g.values.clone()).filter(|(key, _)| key != "username").collect();
        let text = planned(&set_up(input)).apply.iter().map(|m| serde_json::to_string(&m.object).expect("JSON")).collect::<String>();
        for (key, value) in values {
            prop_assert!(!text.contains(std::str::from_utf8(&value).expect("text")), "{}", key);
        }
        prop_assert!(!text.contains("hidden"));
    }
}
