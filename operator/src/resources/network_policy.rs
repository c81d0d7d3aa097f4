//! NetworkPolicy and the parts of its rules.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

/// Label of every namespace with its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Denies all traffic of the selected pods that no rule allows. Policies are additive: traffic is
/// allowed if any policy allows it.
pub fn network_policy(
    metadata: ObjectMeta,
    selector: BTreeMap<String, String>,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(with(selector)),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: (!ingress.is_empty()).then_some(ingress),
            egress: (!egress.is_empty()).then_some(egress),
        }),
    }
}

/// Allows connections from `peers` to `ports`. Empty `peers` means any source.
pub fn from(peers: Vec<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: some(peers), ports: some(ports) }
}

/// Allows connections to `ports` of `peers`. Empty means any port or any destination.
pub fn to(peers: Vec<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort>) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: some(peers), ports: some(ports) }
}

/// Pods with these labels in the policy's namespace.
pub fn pods(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(with(labels)), ..NetworkPolicyPeer::default() }
}

/// All pods of a namespace.
pub fn pods_of(namespace: &str) -> NetworkPolicyPeer {
    let labels = BTreeMap::from([(NAMESPACE_NAME.to_owned(), namespace.to_owned())]);
    NetworkPolicyPeer { namespace_selector: Some(with(labels)), ..NetworkPolicyPeer::default() }
}

/// All pods of the cluster.
pub fn any_pod() -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

/// The addresses of a CIDR range, without the ranges of `except`.
pub fn addresses(range: &str, except: &[&str]) -> NetworkPolicyPeer {
    let block = IPBlock { cidr: range.into(), except: Some(except.iter().map(|range| (*range).to_owned()).collect()) };
    NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
}

/// A TCP port.
pub fn tcp(number: u16) -> NetworkPolicyPort {
    port("TCP", number)
}

/// A UDP port.
pub fn udp(number: u16) -> NetworkPolicyPort {
    port("UDP", number)
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.into()),
        port: Some(IntOrString::Int(i32::from(number))),
        ..NetworkPolicyPort::default()
    }
}

fn with(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
