//! What goes with the workloads, and goes away again.

mod common;
mod planned;

use common::{fresh, images, own_secrets, own_services, pool, ready, set_up, settings};
use kube::api::ApiResource;
use planned::{find, planned, pool_facts};
use serde_json::{Value, json};
use switchyard_operator::{
    leftovers::{Found, around_workloads, disruption_budgets},
    platform::{
        observed::JobState,
        plan::{Facts, Plan},
    },
    worker_pool,
};

fn platform(environment: &str, api: Value) -> Facts {
    let mut spec = own_services();
    spec["environment"] = json!(environment);
    spec["api"] = api;
    set_up(fresh(settings("main", spec), &own_secrets()))
}

fn names(plan: &Plan, kind: &str) -> Vec<String> {
    plan.apply.iter().filter(|m| m.resource.kind == kind).map(|m| m.name().to_owned()).collect()
}

fn found(resource: &ApiResource, name: &str) -> Found {
    Found { resource: resource.clone(), name: name.into(), uid: format!("uid-of-{name}") }
}

#[test]
fn in_production_the_api_follows_the_load_unless_the_spec_says_how_many_pods() {
    let of = |environment: &str, api: Value| {
        let plan = planned(&platform(environment, api));
        let scalers = names(&plan, "HorizontalPodAutoscaler");
        assert_eq!(plan.scaled, scalers, "an autoscaled Deployment is left alone, and no other");
        (!scalers.is_empty()).then(|| {
            let spec = &find(&plan.apply, "HorizontalPodAutoscaler/main-api").object.data["spec"];
            let target = |n: usize| spec["metrics"][n]["containerResource"]["target"]["averageUtilization"].clone();
            json!([spec["minReplicas"], spec["maxReplicas"], target(0), target(1)])
        })
    };
    assert_eq!(of("production", json!({})), Some(json!([3, 10, 70, 80])));
    assert_eq!(of("production", json!({"replicas": 4})), None);
    assert_eq!(of("staging", json!({})), None);
    assert_eq!(of("development", json!({})), None);
    let own = json!({"scaling": {"min": 1, "max": 2, "targetCpu": 50, "targetMemory": 1000}});
    assert_eq!(of("development", own), Some(json!([1, 2, 50, 1000])));
}

#[test]
fn an_autoscaler_that_is_no_longer_wanted_goes_before_the_replicas_are_set() {
    let mut facts = platform("production", json!({"replicas": 4}));
    facts.observed.api = Some(ready(7));
    facts.observed.optional = around_workloads().iter().map(|kind| found(kind, "main-api")).collect();
    let plan = planned(&facts);
    let deleted: Vec<&str> = plan.delete.iter().map(|found| found.resource.kind.as_str()).collect();
    assert!(deleted.contains(&"HorizontalPodAutoscaler") && !deleted.contains(&"PodDisruptionBudget"), "{deleted:?}");
    assert_eq!(find(&plan.apply, "Deployment/main-api").object.data["spec"]["replicas"], 4);
}

#[test]
fn what_goes_with_workloads_stays_while_they_are_not_planned() {
    let mut facts = platform("development", json!({}));
    facts.observed.optional = around_workloads().iter().map(|kind| found(kind, "main-api")).collect();
    assert!(!planned(&facts).delete.is_empty());
    let mut running = facts.clone();
    running.observed.jobs.values_mut().for_each(|job| *job = JobState::Running { trouble: None });
    assert!(planned(&running).delete.is_empty(), "the set-up has not ended");
    facts.secrets.0.insert("db".into(), None);
    assert!(planned(&facts).delete.is_empty(), "a Secret is missing");
}

#[test]
fn a_disruption_budget_lets_one_pod_go_and_never_blocks_a_drain() {
    for environment in ["staging", "production"] {
        let facts = platform(environment, json!({"replicas": 1}));
        let pool = pool("main-cdn", json!({"platformRef": {"name": "main"}, "kind": "cdn"}));
        let pool = worker_pool::plan::plan(&pool_facts(&facts, &pool), &images());
        for (apply, name) in [(&planned(&facts).apply, "main-api"), (&pool.apply, "main-cdn")] {
            let budget = &find(apply, &format!("PodDisruptionBudget/{name}")).object.data["spec"];
            let deployment = &find(apply, &format!("Deployment/{name}")).object.data["spec"];
            assert_eq!(budget["maxUnavailable"], 1, "a minimum would keep a single pod where it is");
            assert_eq!(budget["unhealthyPodEvictionPolicy"], "AlwaysAllow");
            assert_eq!(budget["selector"], deployment["selector"]);
        }
    }
}

#[test]
fn a_pool_of_a_platform_that_became_a_development_one_gives_up_its_disruption_budget() {
    let pool = pool("main-cdn", json!({"platformRef": {"name": "main"}, "kind": "cdn"}));
    let of = |environment: &str| {
        let mut facts = pool_facts(&platform(environment, json!({})), &pool);
        facts.optional = vec![found(&disruption_budgets(), "main-cdn")];
        worker_pool::plan::plan(&facts, &images()).delete.len()
    };
    assert_eq!((of("development"), of("staging")), (1, 0));
}
