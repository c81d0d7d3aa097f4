//! Who may connect to whom: a table of what is open, and everything else is closed.

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

/// Pods with the labels that the plans give them.
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

/// Every connection over TCP that is open and has one of `own` at an end, as `from -> to: ports`, with the same callers of the same in one line.
fn table(policies: &[NetworkPolicy], own: &BTreeMap<String, End>) -> BTreeSet<String> {
    let mut everybody = others();
    everybody.extend(own.clone());
    let mut open = BTreeSet::new();
    for (from, one) in &everybody {
        let mut by_ports: BTreeMap<Vec<u16>, Vec<&str>> = BTreeMap::new();
        for (to, other) in &everybody {
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

fn development(more: Value) -> PlatformInput {
    let mut spec = json!({"environment": "development",
        "profileSource": {"endpoint": "http://apify-stand-in", "secretRef": {"name": "apify"}}});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    set_up(fresh(settings("main", spec), &own_secrets()))
}

#[test]
fn with_everything_bundled_only_what_is_needed_is_open() {
    let input = development(json!({}));
    insta::assert_debug_snapshot!(table(&policies(&input), &own_pods(&input, &json!({}))));
}

#[test]
fn with_the_users_own_services_their_ports_are_open_and_nothing_else() {
    let input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    insta::assert_debug_snapshot!(table(&policies(&input), &own_pods(&input, &json!({}))));
}

#[test]
fn names_are_looked_up_by_workloads_alone() {
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
fn no_override_of_a_pod_template_gets_a_pod_out() {
    let labels = json!({"switchyard.dev/kind": "cdn", "switchyard.dev/platform": "other", "app.kubernetes.io/component": "setup"});
    let disguised = json!({"podTemplate": {"metadata": {"labels": labels}}});
    let input = development(json!({"api": disguised}));
    let usual = development(json!({}));
    let table = |input: &PlatformInput, pools: Value| table(&policies(input), &own_pods(input, &pools));
    assert_eq!(table(&input, disguised), table(&usual, json!({})));
}

#[test]
fn the_workers_of_an_api_without_a_profile_source_reach_none() {
    let input = set_up(fresh(settings("main", json!({"environment": "development"})), &[]));
    let (policies, own, others) = (policies(&input), own_pods(&input, &json!({})), others());
    assert!(!may(&policies, &own["general"], &others["internet"], "TCP", 443));
    assert!(may(&policies, &own["cdn"], &others["internet"], "TCP", 443), "images may be anywhere");
}

#[test]
fn traces_reach_their_collector_from_the_api_and_the_workers_alone() {
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
fn a_service_in_another_namespace_may_lead_to_any_port_there() {
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
fn policies_that_are_not_wanted_go_even_while_the_set_up_cannot_succeed_for_them() {
    let mut input = development(json!({"networkPolicies": false}));
    assert!(policies(&input).is_empty());
    let left = ObjectId { resource: network_policies(), name: "main-setup".into(), uid: "1".into() };
    input.observed.optional = vec![left.clone()];
    input.observed.jobs.values_mut().for_each(|job| *job = JobState::Running { trouble: None });
    assert_eq!(planned(&input).delete, [left]);
}

#[test]
fn nothing_that_runs_is_closed_before_it_is_opened() {
    let mut input = development(json!({}));
    let all = policies(&input);
    assert_eq!(all.last().and_then(|policy| policy.metadata.name.as_deref()), Some("main-closed"));
    input.observed.jobs.values_mut().for_each(|job| *job = JobState::Running { trouble: None });
    let (before, own) = (policies(&input), own_pods(&input, &json!({})));
    let anything = |pod: &End| may(&before, pod, &others()["intranet"], "TCP", 6432);
    assert!(!anything(&own["setup"]) && !anything(&own["postgresql"]));
    assert!(KINDS.iter().chain(&["api"]).all(|name| own.get(*name).is_none_or(anything)), "they keep what they have");
}
