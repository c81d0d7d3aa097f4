//! NetworkPolicies: a table of the allowed connections.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{fresh, own_secrets, own_services, pool, set_up, settings};
use crate::connections::{End, Labels, may};
use crate::planned::{find, planned, planned_pool, pool_input};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};
use switchyard_operator::{
    controllers::platform::input::PlatformInput,
    kubernetes::{kinds::network_policies, prune::ObjectId, rollout::JobState},
    resources::manifest::Manifest,
};

const PORTS: &[u16] = &[53, 80, 443, 5353, 5432, 5671, 5672, 6379, 6432, 8080, 8081, 9000];
const KINDS: [&str; 4] = ["general", "cdn", "discovery", "ai"];

fn policies(input: &PlatformInput) -> Vec<NetworkPolicy> {
    let apply = planned(input).apply.into_iter().filter(|m| m.resource.kind == "NetworkPolicy");
    apply.map(|m| serde_json::from_value(serde_json::to_value(&m.object).expect("JSON")).expect("a policy")).collect()
}

fn in_pod(namespace: &str, labels: Labels) -> End {
    End::Pod { namespace: namespace.into(), labels }
}

/// Pods with the labels of the plans.
fn own_pods(input: &PlatformInput, pools: &Value) -> BTreeMap<String, End> {
    let of = |manifest: &Manifest| {
        let labels = manifest.object.data["spec"]["template"]["metadata"]["labels"].clone();
        in_pod("shop", serde_json::from_value(labels).expect("labels"))
    };
    let mut before = input.clone();
    before.observed.jobs.clear();
    let all = [planned(input).apply, planned(&before).apply].concat();
    let mut ends = BTreeMap::new();
    for manifest in &all {
        let name = match manifest.resource.kind.as_str() {
            "Job" => "setup",
            "Deployment" | "StatefulSet" => manifest.name().trim_start_matches("main-"),
            _ => continue,
        };
        ends.insert(name.to_owned(), of(manifest));
    }
    for kind in KINDS {
        let mut spec = json!({"platformRef": {"name": "main"}, "kind": kind});
        spec.as_object_mut().expect("an object").extend(pools.as_object().expect("an object").clone());
        let pool = pool(&format!("our-{kind}"), spec);
        let plan = planned_pool(&pool_input(input, &pool));
        ends.insert(kind.to_owned(), of(find(&plan.apply, &format!("Deployment/our-{kind}"))));
    }
    ends
}

/// Who else there is.
fn others() -> BTreeMap<String, End> {
    let labels = |text: &str| Labels::from([("app".to_owned(), text.to_owned())]);
    let address = |text: &str| End::Address(text.parse().expect("an address"));
    [
        ("neighbour", in_pod("shop", labels("apify-stand-in"))),
        ("prometheus", in_pod("monitoring", labels("prometheus"))),
        ("dns", in_pod("kube-system", labels("kube-dns"))),
        ("other-platform", in_pod("shop", switchyard_operator::spec::names::labels("other", "worker"))),
        ("impostor", in_pod("elsewhere", switchyard_operator::spec::names::labels("main", "worker"))),
        ("internet", address("93.184.216.34")),
        ("internet-6", address("2606:2800:220:1::1")),
        ("metadata", address("169.254.169.254")),
        ("intranet", address("10.1.2.3")),
        ("intranet-6", address("fd00::1")),
    ]
    .map(|(name, end)| (name.to_owned(), end))
    .into()
}

/// Allowed TCP connections from or to one of `own`, as `from -> to: ports`. Targets with equal
/// ports share a line.
fn table(policies: &[NetworkPolicy], own: &BTreeMap<String, End>) -> BTreeSet<String> {
    let mut all = others();
    all.extend(own.clone());
    let mut open = BTreeSet::new();
    for (from, one) in &all {
        let mut by_ports: BTreeMap<Vec<u16>, Vec<&str>> = BTreeMap::new();
        for (to, other) in &all {
            if from != to && (own.contains_key(from) || own.contains_key(to)) {
                let ports: Vec<u16> = PORTS.iter().copied().filter(|p| may(policies, one, other, "TCP", *p)).collect();
                by_ports.entry(ports).or_default().push(to);
            }
        }
        for (ports, to) in by_ports.into_iter().filter(|(ports, _)| !ports.is_empty()) {
            open.insert(format!("{from} -> {}: {ports:?}", to.join(" ")));
        }
    }
    open
}

#[expect(clippy::needless_pass_by_value, reason = "its callers pass literals of json!")]
fn development(more: Value) -> PlatformInput {
    let mut spec = json!({"environment": "development",
        "profileSource": {"endpoint": "http://apify-stand-in", "secretRef": {"name": "apify"}}});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    set_up(fresh(settings("main", spec), &own_secrets()))
}

#[test]
fn bundled_services_open_only_the_needed_connections() {
    let input = development(json!({}));
    insta::assert_debug_snapshot!(table(&policies(&input), &own_pods(&input, &json!({}))));
}

#[test]
fn external_services_open_only_their_own_ports() {
    let input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    insta::assert_debug_snapshot!(table(&policies(&input), &own_pods(&input, &json!({}))));
}

#[test]
fn only_workloads_may_use_dns() {
    let input = development(json!({}));
    let (policies, own, others) = (policies(&input), own_pods(&input, &json!({})), others());
    for (name, pod) in &own {
        let works = !["postgresql", "rabbitmq", "redis", "s3"].contains(&name.as_str());
        for (protocol, port) in [("UDP", 53), ("TCP", 53), ("UDP", 5353)] {
            assert_eq!(may(&policies, pod, &others["dns"], protocol, port), works, "{name}: {protocol} {port}");
        }
        assert_eq!(may(&policies, pod, &others["metadata"], "UDP", 53), works, "a cache on the node");
        assert!(!may(&policies, pod, &others["internet"], "UDP", 443), "{name}");
    }
}

#[test]
fn a_pod_template_override_opens_no_connections() {
    let labels = json!({"switchyard.dev/kind": "cdn", "switchyard.dev/platform": "other", "app.kubernetes.io/component": "setup"});
    let disguised = json!({"podTemplate": {"metadata": {"labels": labels}}});
    let input = development(json!({"api": disguised}));
    let usual = development(json!({}));
    let table = |input: &PlatformInput, pools: Value| table(&policies(input), &own_pods(input, &pools));
    assert_eq!(table(&input, disguised), table(&usual, json!({})));
}

#[test]
fn workers_without_a_profile_source_have_no_egress_to_one() {
    let input = set_up(fresh(settings("main", json!({"environment": "development"})), &[]));
    let (policies, own, others) = (policies(&input), own_pods(&input, &json!({})), others());
    assert!(!may(&policies, &own["general"], &others["internet"], "TCP", 443));
    assert!(may(&policies, &own["cdn"], &others["internet"], "TCP", 443), "images may be anywhere");
}

#[test]
fn only_the_api_and_the_workers_reach_the_trace_collector() {
    let traced = json!({"monitoring": {"traces": {"endpoint": "http://collector.observability:4318"}}});
    let input = development(traced);
    let (policies, own) = (policies(&input), own_pods(&input, &json!({})));
    let collector = in_pod("observability", Labels::new());
    for workload in KINDS.iter().chain(&["api"]) {
        assert!(may(&policies, &own[*workload], &collector, "TCP", 4318), "{workload}");
    }
    for other in ["setup", "postgresql", "s3"] {
        assert!(!may(&policies, &own[other], &collector, "TCP", 4318), "{other}");
    }
}

#[test]
fn a_service_of_another_namespace_opens_every_port_there() {
    let mut secrets = own_secrets();
    secrets[1].1 = crate::common::secret(&[("uri", "amqp://app:hidden@mq.queues.svc.cluster.local/app")]);
    let input = set_up(fresh(settings("main", own_services()), &secrets));
    let (policies, own) = (policies(&input), own_pods(&input, &json!({})));
    let broker = |namespace: &str| in_pod(namespace, Labels::new());
    for workload in ["api", "ai", "setup"] {
        assert!(may(&policies, &own[workload], &broker("queues"), "TCP", 35672), "{workload}");
        assert!(!may(&policies, &own[workload], &broker("shop"), "TCP", 35672), "{workload}");
    }
}

#[test]
fn disabled_network_policies_are_deleted_before_the_setup() {
    let mut input = development(json!({"networkPolicies": false}));
    assert!(policies(&input).is_empty());
    let left = ObjectId { resource: network_policies(), name: "main-setup".into(), uid: "1".into() };
    input.observed.optional = vec![left.clone()];
    input.observed.jobs.values_mut().for_each(|job| *job = JobState::Running { trouble: None });
    assert_eq!(planned(&input).delete, [left]);
}

#[test]
fn network_policies_never_close_a_running_pod_first() {
    let mut input = development(json!({}));
    let all = policies(&input);
    assert_eq!(all.last().and_then(|policy| policy.metadata.name.as_deref()), Some("main-closed"));
    input.observed.jobs.values_mut().for_each(|job| *job = JobState::Running { trouble: None });
    let (before, own) = (policies(&input), own_pods(&input, &json!({})));
    let anything = |pod: &End| may(&before, pod, &others()["intranet"], "TCP", 6432);
    assert!(!anything(&own["setup"]) && !anything(&own["postgresql"]));
    assert!(KINDS.iter().chain(&["api"]).all(|name| own.get(*name).is_none_or(anything)), "they keep what they have");
}
