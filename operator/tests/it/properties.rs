//! Properties of the plans of a platform and its pools, for all names.

use std::collections::BTreeMap;

use crate::common::{fresh, own_secrets, own_services, pool, set_up, settings};
use crate::planned::{planned, planned_pool, pool_input};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{ConfigMap, Secret, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::api::DynamicObject;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use switchyard_operator::{
    controllers::{platform::input::PlatformInput, worker_pool::plan::Stage},
    crd::WorkerPool,
    resources::manifest::Manifest,
};

const KINDS: [&str; 4] = ["general", "cdn", "discovery", "ai"];

/// Names that the schema allows, of every length up to the longest.
fn name(longest: usize) -> impl Strategy<Value = String> {
    let pattern = format!("[a-z]([-a-z0-9]{{0,{n}}}[a-z0-9])?|[a-z][-a-z0-9]{{{n}}}[a-z0-9]", n = longest - 2);
    proptest::string::string_regex(&pattern).expect("a pattern")
}

fn spec(environment: &str, own: bool) -> Value {
    let mut spec = if own || environment != "development" { own_services() } else { json!({}) };
    spec["environment"] = json!(environment);
    spec
}

fn platforms() -> impl Strategy<Value = (String, Value)> {
    let environment = prop::sample::select(vec!["development", "staging", "production"]);
    (name(40), environment, any::<bool>()).prop_map(|(name, environment, own)| (name, spec(environment, own)))
}

/// All objects of all stages of a platform and these pools.
fn everything(input: &PlatformInput, pools: &[WorkerPool]) -> Vec<Manifest> {
    let mut later = set_up(input.clone());
    let running = planned(&later).apply;
    later.observed.jobs.clear();
    let mut all: BTreeMap<String, Manifest> = BTreeMap::new();
    // An object may be planned at several stages, but only once at each.
    for stage in [planned(input).create, planned(input).apply, planned(&later).apply, running] {
        all.extend(stage.into_iter().map(|manifest| (manifest.title(), manifest)));
    }
    let mut all: Vec<Manifest> = all.into_values().collect();
    for pool in pools {
        let plan = planned_pool(&pool_input(input, pool));
        assert_eq!(plan.stage, Stage::Running);
        all.extend(plan.apply);
    }
    all
}

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(inner)
        && !name.ends_with('-')
}

/// The object after a round trip through its typed form.
fn typed<K: Serialize + DeserializeOwned>(object: Value) -> Value {
    let object: K = serde_json::from_value(object).expect("an object of its kind");
    serde_json::to_value(&object).expect("JSON")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn names_of_all_objects_are_unique_labels((platform, spec) in platforms(), user in name(52)) {
        // Pools share a namespace of names with the components: applying a pool named like the API
        // is refused.
        prop_assume!(!user.starts_with(&format!("{platform}-")));
        let input = fresh(settings(&platform, spec), &own_secrets());
        let mut pools: Vec<WorkerPool> = KINDS
            .map(|kind| pool(&format!("{platform}-{kind}"), json!({"platformRef": {"name": platform}, "kind": kind})))
            .into();
        pools.push(pool(&user, json!({"platformRef": {"name": platform}, "kind": "discovery", "connections": {"size": 1, "overflow": 1}})));
        let all = everything(&input, &pools);
        let mut titles: Vec<String> = all.iter().map(Manifest::title).collect();
        let count = titles.len();
        titles.sort();
        titles.dedup();
        prop_assert_eq!(titles.len(), count, "{:?}", titles);
        for manifest in &all {
            prop_assert!(is_label(manifest.name()), "{}", manifest.title());
            for (key, value) in manifest.object.metadata.labels.iter().flatten() {
                prop_assert!(value.len() <= 63, "{} of {} is {value}", key, manifest.title());
            }
        }
    }

    #[test]
    fn objects_survive_json_unchanged((platform, spec) in platforms(), kind in prop::sample::select(KINDS.to_vec())) {
        let input = fresh(settings(&platform, spec), &own_secrets());
        let pools = [pool(&format!("{platform}-{kind}"), json!({"platformRef": {"name": platform}, "kind": kind}))];
        for manifest in everything(&input, &pools) {
            let text = serde_json::to_string(&manifest.object).expect("JSON");
            let again: DynamicObject = serde_json::from_str(&text).expect("an object");
            prop_assert_eq!(&again, &manifest.object);
            let object: Value = serde_json::from_str(&text).expect("JSON");
            let own = match manifest.resource.kind.as_str() {
                "Deployment" => typed::<Deployment>(object.clone()),
                "StatefulSet" => typed::<StatefulSet>(object.clone()),
                "Job" => typed::<Job>(object.clone()),
                "ConfigMap" => typed::<ConfigMap>(object.clone()),
                "Secret" => typed::<Secret>(object.clone()),
                "Service" => typed::<Service>(object.clone()),
                "NetworkPolicy" => typed::<NetworkPolicy>(object.clone()),
                "PodDisruptionBudget" => typed::<PodDisruptionBudget>(object.clone()),
                "HorizontalPodAutoscaler" => typed::<HorizontalPodAutoscaler>(object.clone()),
                "WorkerPool" => typed::<WorkerPool>(object.clone()),
                other => panic!("{other} is not read back here"),
            };
            prop_assert_eq!(own, object, "{}", manifest.title());
        }
    }

    /// Connections depend on `scaling.max`, so the template does too, but on no other number of
    /// pods.
    #[test]
    fn replicas_and_the_scaling_minimum_change_no_template(
        (platform, spec) in platforms(), kind in prop::sample::select(KINDS.to_vec()), before in 0i32..3, after in 0i32..3, max in 3i32..5
    ) {
        let templates = |api: Value, pods: Value| -> Vec<(String, Value)> {
            let mut spec = spec.clone();
            spec["api"] = api;
            let input = fresh(settings(&platform, spec), &own_secrets());
            let mut own = json!({"platformRef": {"name": platform}, "kind": kind});
            own.as_object_mut().expect("an object").extend(pods.as_object().cloned().expect("an object"));
            let of = |manifest: Manifest| (manifest.title(), manifest.object.data["spec"]["template"].clone());
            everything(&input, &[pool("p", own)]).into_iter().map(of).filter(|(_, template)| !template.is_null()).collect()
        };
        let fixed = |replicas: i32| templates(json!({"replicas": replicas.max(1)}), json!({"replicas": replicas}));
        prop_assert_eq!(fixed(before), fixed(after));
        let scaled = |min: i32| templates(json!({"scaling": {"min": min.max(1), "max": max}}), json!({"scaling": {"min": min, "max": max}}));
        prop_assert_eq!(scaled(before), scaled(after));
    }
}
