//! An upgrade of the operator alone recreates no pod: the templates equal those of the last release
//! in `fixtures/pod-templates.json`.

use std::{collections::BTreeMap, env, fs, path::Path};

use crate::common::{fresh, own_secrets, own_services, pool, set_up, settings};
use crate::planned::{find, planned, planned_pool, pool_input};
use serde_json::{Value, json};
use switchyard_operator::{controllers::platform::input::PlatformInput, resources::manifest::Manifest};

fn templates(of: &str, manifests: &[Manifest], all: &mut BTreeMap<String, Value>) {
    for manifest in manifests {
        let template = &manifest.object.data["spec"]["template"];
        // A Job is recreated with every change by design: its name has a digest.
        if !template.is_null() && manifest.resource.kind != "Job" {
            all.insert(format!("{of}: {}", manifest.title()), template.clone());
        }
    }
}

fn platform(environment: &str) -> PlatformInput {
    if environment == "development" {
        return set_up(fresh(settings("main", json!({"environment": environment})), &[]));
    }
    let mut spec = own_services();
    spec["environment"] = json!(environment);
    set_up(fresh(settings("main", spec), &own_secrets()))
}

#[test]
fn an_upgrade_of_the_operator_changes_no_pod_template() {
    let mut all = BTreeMap::new();
    for environment in ["development", "staging", "production"] {
        let input = platform(environment);
        let apply = planned(&input).apply;
        // The plan has come as far as to the workloads.
        find(&apply, "Deployment/main-api");
        templates(environment, &apply, &mut all);
        for (name, spec) in [
            ("main-general", json!({"platformRef": {"name": "main"}, "kind": "general"})),
            ("main-ai", json!({"platformRef": {"name": "main"}, "kind": "ai", "scaling": {"min": 0, "max": 4}})),
            (
                "gpu",
                json!({"platformRef": {"name": "main"}, "kind": "ai", "gpu": {"count": 1, "runtimeClassName": "nvidia"}}),
            ),
            (
                "urgent",
                json!({"platformRef": {"name": "main"}, "kind": "cdn", "lanes": ["critical", "high"], "concurrency": 2}),
            ),
        ] {
            let plan = planned_pool(&pool_input(&input, &pool(name, spec)));
            templates(environment, &plan.apply, &mut all);
        }
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&all).expect("JSON"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/pod-templates.json");
    if env::var_os("UPDATE_FIXTURES").is_some() {
        fs::create_dir_all(path.parent().expect("a folder"))
            .and_then(|()| fs::write(&path, &text))
            .expect("the fixture is written");
    }
    let released: BTreeMap<String, Value> =
        serde_json::from_str(&fs::read_to_string(&path).expect("the fixture")).expect("JSON");
    for (name, template) in &released {
        assert_eq!(
            all.get(name),
            Some(template),
            "{name}: this change of the operator alone recreates the pods of every platform. If it is necessary, mention it in the release notes, and \
             run this test with UPDATE_FIXTURES=1"
        );
    }
    assert_eq!(all.len(), released.len(), "a workload is not in the fixture yet: run this test with UPDATE_FIXTURES=1");
}
