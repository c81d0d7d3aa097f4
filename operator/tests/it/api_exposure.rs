//! Objects beside the workloads: autoscalers, disruption budgets, exposure, monitoring, quotas.

use crate::common::{fresh, own_secrets, own_services, pool, ready, set_up, settings};
use crate::planned::{find, planned, planned_pool, pool_input};
use kube::api::ApiResource;
use serde_json::{Value, json};
use switchyard_operator::{
    controllers::platform::{input::PlatformInput, plan::Plan},
    kubernetes::{
        kinds::{disruption_budgets, platform_kinds},
        prune::ObjectId,
        rollout::JobState,
    },
};

fn platform(environment: &str, api: Value) -> PlatformInput {
    let mut spec = own_services();
    spec["environment"] = json!(environment);
    spec["api"] = api;
    set_up(fresh(settings("main", spec), &own_secrets()))
}

fn names(plan: &Plan, kind: &str) -> Vec<String> {
    plan.apply.iter().filter(|m| m.resource.kind == kind).map(|m| m.name().to_owned()).collect()
}

fn found(resource: &ApiResource, name: &str) -> ObjectId {
    ObjectId { resource: resource.clone(), name: name.into(), uid: format!("uid-of-{name}") }
}

#[test]
fn production_scales_the_api_unless_the_spec_sets_replicas() {
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
fn an_obsolete_autoscaler_is_deleted_before_replicas_are_set() {
    let mut input = platform("production", json!({"replicas": 4}));
    input.observed.api = Some(ready(7));
    input.observed.optional = platform_kinds().iter().map(|kind| found(kind, "main-api")).collect();
    let plan = planned(&input);
    let deleted: Vec<&str> = plan.delete.iter().map(|found| found.resource.kind.as_str()).collect();
    assert!(deleted.contains(&"HorizontalPodAutoscaler") && !deleted.contains(&"PodDisruptionBudget"), "{deleted:?}");
    assert_eq!(find(&plan.apply, "Deployment/main-api").object.data["spec"]["replicas"], 4);
}

#[test]
fn objects_beside_workloads_stay_while_workloads_are_not_planned() {
    let mut input = platform("development", json!({}));
    input.observed.optional = platform_kinds().iter().map(|kind| found(kind, "main-api")).collect();
    assert!(!planned(&input).delete.is_empty());
    let mut running = input.clone();
    running.observed.jobs.values_mut().for_each(|job| *job = JobState::Running { trouble: None });
    // Except for an obsolete quota, which may block the other objects.
    let goes = |input: &PlatformInput| {
        planned(input).delete.iter().map(|found| found.resource.kind.clone()).collect::<Vec<_>>()
    };
    assert_eq!(goes(&running), ["ResourceQuota", "LimitRange"], "the setup has not ended");
    input.secrets.0.insert("db".into(), None);
    assert_eq!(goes(&input), ["ResourceQuota", "LimitRange"], "a Secret is missing");
}

#[test]
fn a_disruption_budget_allows_one_pod_and_never_blocks_a_drain() {
    for environment in ["staging", "production"] {
        let input = platform(environment, json!({"replicas": 1}));
        let pool = pool("main-cdn", json!({"platformRef": {"name": "main"}, "kind": "cdn"}));
        let pool = planned_pool(&pool_input(&input, &pool));
        for (apply, name) in [(&planned(&input).apply, "main-api"), (&pool.apply, "main-cdn")] {
            let budget = &find(apply, &format!("PodDisruptionBudget/{name}")).object.data["spec"];
            let deployment = &find(apply, &format!("Deployment/{name}")).object.data["spec"];
            assert_eq!(budget["maxUnavailable"], 1, "a minimum would keep a single pod where it is");
            assert_eq!(budget["unhealthyPodEvictionPolicy"], "AlwaysAllow");
            assert_eq!(budget["selector"], deployment["selector"]);
        }
    }
}

#[test]
fn a_change_to_development_deletes_the_disruption_budget_of_a_pool() {
    let pool = pool("main-cdn", json!({"platformRef": {"name": "main"}, "kind": "cdn"}));
    let of = |environment: &str| {
        let mut input = pool_input(&platform(environment, json!({})), &pool);
        input.optional = vec![found(&disruption_budgets(), "main-cdn")];
        planned_pool(&input).delete.len()
    };
    assert_eq!((of("development"), of("staging")), (1, 0));
}

#[test]
fn exposure_covers_the_public_api_and_not_the_admin_api() {
    let way = json!({"ingress": {"host": "analytics.example.com", "className": "nginx", "secretRef": {"name": "tls"},
        "annotations": {"cert-manager.io/cluster-issuer": "main"}}});
    let plan = planned(&platform("staging", way));
    let ingress = &find(&plan.apply, "Ingress/main-api").object;
    assert_eq!(ingress.metadata.annotations.as_ref().expect("annotations")["cert-manager.io/cluster-issuer"], "main");
    let spec = &ingress.data["spec"];
    assert_eq!(spec["tls"], json!([{"hosts": ["analytics.example.com"], "secretName": "tls"}]));
    let paths = spec["rules"][0]["http"]["paths"].as_array().expect("paths");
    let said: Vec<_> = paths.iter().map(|p| (p["path"].as_str().unwrap(), p["pathType"].as_str().unwrap())).collect();
    assert_eq!(said, [("/v1", "Prefix"), ("/openapi.json", "Exact")]);
    let service = &find(&plan.apply, "Service/main-api").object.data["spec"]["ports"];
    assert_eq!(paths[0]["backend"]["service"]["port"]["name"], service[0]["name"]);
    assert_eq!(paths[0]["backend"]["service"]["name"], "main-api");
    assert!(names(&planned(&platform("staging", json!({}))), "Ingress").is_empty());
}

#[test]
fn a_route_without_the_gateway_api_delays_nothing_else() {
    let way = json!({"route": {"host": "analytics.example.com", "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}]}});
    let mut input = platform("staging", way);
    let plan = planned(&input);
    let spec = &find(&plan.apply, "HTTPRoute/main-api").object.data["spec"];
    assert_eq!(spec["parentRefs"], json!([{"name": "public", "namespace": "gateways", "sectionName": "https"}]));
    assert_eq!(spec["rules"][0]["backendRefs"], json!([{"name": "main-api", "port": 80}]));

    let route = find(&plan.apply, "HTTPRoute/main-api").resource.clone();
    input.observed.missing.push(route);
    let without = planned(&input);
    assert_eq!(without.stage, plan.stage);
    assert_eq!(without.apply.len() + 1, plan.apply.len());
}

#[test]
fn monitoring_covers_all_pods_and_uses_the_thresholds_of_the_spec() {
    let watched = json!({
        "prometheus": true, "labels": {"release": "prom", "app.kubernetes.io/managed-by": "me"}, "interval": "15s",
        "alerts": {"latency": {"warning": "3s"}, "errors": {"critical": 20}, "queue": {"warning": 7}, "failuresPerHundredThousand": 50,
            "runbooks": "https://wiki.example.com/"},
    });
    let mut spec = own_services();
    spec["monitoring"] = watched;
    let mut input = set_up(fresh(settings("main", spec.clone()), &own_secrets()));
    assert!(names(&planned(&input), "PodMonitor").is_empty(), "the kind is unknown");
    input.observed.missing.clear();
    let plan = planned(&input);
    let (monitor, rule) =
        (find(&plan.apply, "PodMonitor/main-monitoring"), find(&plan.apply, "PrometheusRule/main-monitoring"));
    for object in [monitor, rule] {
        let labels = object.object.metadata.labels.as_ref().unwrap();
        assert_eq!((&*labels["release"], &*labels["app.kubernetes.io/managed-by"]), ("prom", "switchyard"));
    }
    let endpoint = &monitor.object.data["spec"]["podMetricsEndpoints"][0];
    assert_eq!((&endpoint["port"], &endpoint["interval"]), (&json!("operations"), &json!("15s")));
    // It selects the pods of the API and of every pool, and they have that port.
    let selector = &monitor.object.data["spec"]["selector"];
    let api = &find(&plan.apply, "Deployment/main-api").object.data["spec"]["template"];
    for (key, value) in selector["matchLabels"].as_object().unwrap() {
        assert_eq!(&api["metadata"]["labels"][key], value);
    }
    let worker = pool("p", json!({"platformRef": {"name": "main"}, "kind": "cdn"}));
    let pool_plan = planned_pool(&pool_input(&input, &worker));
    let worker = &find(&pool_plan.apply, "Deployment/p").object.data["spec"]["template"];
    for (key, value) in selector["matchLabels"].as_object().unwrap() {
        assert_eq!(&worker["metadata"]["labels"][key], value);
    }
    let component = &selector["matchExpressions"][0];
    for template in [api, worker] {
        let label = &template["metadata"]["labels"][component["key"].as_str().unwrap()];
        assert!(component["values"].as_array().unwrap().contains(label), "{label}");
        let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
        assert!(ports.iter().any(|port| port["name"] == "operations"), "{ports:?}");
    }
    let text = rule.object.data.to_string();
    for words in ["> 3", "> 0.2", "> 7", "0.0005", "https://wiki.example.com/SwitchyardApiDown.md"] {
        assert!(text.contains(words), "{words} is nowhere in the rules");
    }
    assert!(!text.contains("$("), "a placeholder is left");

    spec["monitoring"]["prometheus"] = json!(false);
    let mut off = set_up(fresh(settings("main", spec), &own_secrets()));
    off.observed.missing.clear();
    assert!(names(&planned(&off), "PodMonitor").is_empty() && names(&planned(&off), "PrometheusRule").is_empty());
}

#[test]
fn namespace_limits_allow_a_quarter_more_than_the_platform_needs() {
    let mut spec = own_services();
    spec["namespaceLimits"] = json!(true);
    spec["api"] =
        json!({"replicas": 3, "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}});
    let mut input = set_up(fresh(settings("main", spec), &own_secrets()));
    let gpus = json!({"platformRef": {"name": "main"}, "kind": "ai", "scaling": {"min": 0, "max": 4}, "gpu": {"count": 2},
        "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}});
    input.pools = vec![pool("main-ai", gpus)];
    let plan = planned(&input);
    let hard = &find(&plan.apply, "ResourceQuota/main-limits").object.data["spec"]["hard"];
    // Four API pods and five worker pods, including the surge, and two setup Jobs: 11 pods and
    // 14.02 cores.
    assert_eq!(hard["pods"], "14");
    assert_eq!(hard["requests.cpu"], "17525m");
    assert_eq!(hard["requests.nvidia.com/gpu"], "10", "GPUs are dear: no more than are needed");
    assert_eq!(hard["limits.memory"], format!("{}Mi", (4 * 2048 + 5 * 4096 + 2 * 256) * 5 / 4));
    let first = plan.apply.iter().position(|m| m.resource.kind == "LimitRange").expect("a LimitRange");
    let pods = plan.apply.iter().position(|m| m.resource.kind == "Deployment").expect("a Deployment");
    assert!(first < pods, "a pod without requests would be kept out by the quota");
    assert!(names(&planned(&platform("staging", json!({}))), "ResourceQuota").is_empty());
}

#[test]
fn pods_spread_and_have_the_priority_class_of_their_most_urgent_lane() {
    let lanes = |lanes: Value| json!({"platformRef": {"name": "main"}, "kind": "cdn", "lanes": lanes});
    let template = |environment: &str, spec: Value| {
        let input = pool_input(&platform(environment, json!({})), &pool("p", spec));
        let plan = planned_pool(&input);
        find(&plan.apply, "Deployment/p").object.data["spec"]["template"]["spec"].clone()
    };
    let production = template("production", lanes(json!(["low", "normal"])));
    assert_eq!(production["priorityClassName"], "switchyard-normal");
    let keys: Vec<_> = production["topologySpreadConstraints"]
        .as_array()
        .expect("spread")
        .iter()
        .map(|c| c["topologyKey"].clone())
        .collect();
    assert_eq!(keys, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]);
    assert_eq!(template("staging", lanes(json!(["critical"])))["priorityClassName"], "switchyard-critical");
    let development = template("development", lanes(json!(["critical"])));
    assert_eq!(
        (&development["priorityClassName"], &development["topologySpreadConstraints"]),
        (&json!(null), &json!(null))
    );
}
