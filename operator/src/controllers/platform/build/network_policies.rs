//! NetworkPolicies of a platform. Pure.
//!
//! All other traffic of its pods is denied, in both directions. Probes come from the node, which no
//! policy blocks. Policies are additive, so a user can allow more with a policy of their own.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer};
use switchyard_contract::{API_PORT, Kind, OPERATIONS_PORT};

use crate::{
    controllers::platform::{
        build::{
            bundled_services::{bundled_components, server_name, server_port},
            egress::Egress,
            workloads::SETUP,
        },
        credentials::Credentials,
    },
    resources::{
        manifest::Manifest,
        network_policy::{addresses, any_pod, from, network_policy, pods, tcp, to, udp},
        owner::Owner,
    },
    spec::{component::Component, names, settings::Settings},
};

/// The components that every workload connects to.
const STORES: &[Component] = &[Component::Database, Component::Broker, Component::Cache];

/// IPv4 ranges without public hosts. The cdn workers refuse the same ones.
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// IPv6 ranges in `2000::/3` without public hosts. All public addresses are in `2000::/3`.
const NOT_PUBLIC_V6: &[&str] = &["2001::/32", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// Policies that allow only the platform's workloads to connect to the bundled servers.
pub fn servers(settings: &Settings, owner: &Owner) -> Vec<Manifest> {
    let platform = &settings.name;
    let workloads = || ["api", "worker", SETUP].map(|component| pods(names::selector(platform, component))).to_vec();
    let storing = || vec![pods(workers(platform, Kind::Cdn)), pods(names::selector(platform, SETUP))];
    let policy = |component: Component| {
        let callers = if component == Component::ObjectStore { storing() } else { workloads() };
        let (name, (_, port)) = (server_name(platform, component)?, server_port(component)?);
        let selector = names::selector(platform, component.as_str());
        let ingress = vec![from(callers, vec![tcp(port)])];
        let metadata = owner.meta(name, component.as_str());
        Some(Manifest::of(&network_policy(metadata, selector, ingress, Vec::new())))
    };
    let desired = settings.network_policies;
    bundled_components(settings).into_iter().filter(|_| desired).filter_map(policy).collect()
}

/// The policy that allows the setup Job to connect to the backing services only.
pub fn setup(settings: &Settings, credentials: &Credentials, owner: &Owner) -> Option<Manifest> {
    let mut all = Egress::of(settings, credentials, &[STORES, &[Component::ObjectStore]].concat());
    all.add_setup(settings, credentials);
    let selector = names::selector(&settings.name, SETUP);
    let policy = policy(owner, "-setup", SETUP, selector, Vec::new(), reachable(settings, &all));
    settings.network_policies.then_some(policy)
}

/// Policies of the API and the workers, and the one that denies everything else.
pub fn workloads(settings: &Settings, credentials: &Credentials, owner: &Owner) -> Vec<Manifest> {
    if !settings.network_policies {
        return Vec::new();
    }
    let platform = &settings.name;
    let mut shared = Egress::of(settings, credentials, STORES);
    shared.add_traces(settings);
    let stores = reachable(settings, &shared);
    let source = Egress::of(settings, credentials, &[Component::ProfileSource]).rules(platform);
    let images = [
        Egress::of(settings, credentials, &[Component::ObjectStore]).rules(platform),
        // The profile source hosts some of the images.
        source.clone(),
        vec![to(internet(), vec![tcp(80), tcp(443)])],
    ]
    .concat();
    // Any pod of the cluster may scrape metrics: they have no tenant's data, and Prometheus may run
    // in any namespace.
    let scrape = from(vec![any_pod()], vec![tcp(OPERATIONS_PORT)]);
    // Callers authenticate with a key, and a load balancer may have any address.
    let call = from(Vec::new(), vec![tcp(API_PORT)]);
    let api = names::selector(platform, "api");
    let every_worker = names::selector(platform, "worker");
    let everything = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "switchyard".to_owned()),
        (names::PLATFORM_LABEL.to_owned(), platform.clone()),
    ]);
    let mut all = vec![
        policy(owner, "-api", "api", api, vec![call, scrape.clone()], stores.clone()),
        policy(owner, "-workers", "worker", every_worker, vec![scrape], stores),
        policy(owner, "-cdn", "worker", workers(platform, Kind::Cdn), Vec::new(), images),
    ];
    if !source.is_empty() {
        all.push(policy(owner, "-general", "worker", workers(platform, Kind::General), Vec::new(), source));
    }
    // Applied last, so that running pods are never cut off.
    all.push(policy(owner, "-closed", "platform", everything, Vec::new(), Vec::new()));
    all
}

fn policy(
    owner: &Owner,
    ending: &str,
    component: &str,
    selector: BTreeMap<String, String>,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> Manifest {
    let metadata = owner.meta(format!("{}{ending}", owner.platform), component);
    Manifest::of(&network_policy(metadata, selector, ingress, egress))
}

/// Labels of the workers of one kind.
fn workers(platform: &str, kind: Kind) -> BTreeMap<String, String> {
    let mut labels = names::selector(platform, "worker");
    labels.insert(names::KIND_LABEL.into(), kind.to_string());
    labels
}

/// The destinations and DNS. OpenShift's DNS pods listen on 5353; a node-local DNS cache is no pod,
/// so port 53 is open to any address.
fn reachable(settings: &Settings, egress: &Egress) -> Vec<NetworkPolicyEgressRule> {
    let mut rules = vec![to(Vec::new(), vec![udp(53), tcp(53)]), to(vec![any_pod()], vec![udp(5353), tcp(5353)])];
    rules.extend(egress.rules(&settings.name));
    rules
}

fn internet() -> Vec<NetworkPolicyPeer> {
    vec![addresses("0.0.0.0/0", NOT_PUBLIC), addresses("2000::/3", NOT_PUBLIC_V6)]
}
