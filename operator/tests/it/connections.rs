//! Evaluates NetworkPolicies connection by connection, as the Kubernetes documentation defines
//! them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

pub type Labels = BTreeMap<String, String>;

/// One end of a connection.
#[derive(Debug, Clone)]
pub enum End {
    Pod { namespace: String, labels: Labels },
    Address(IpAddr),
}

/// Whether `from` may connect to `port` of `to`.
pub fn may(policies: &[NetworkPolicy], from: &End, to: &End, protocol: &str, port: u16) -> bool {
    let out = opened(policies, from, "Egress", |policy| {
        let rules = policy.spec.as_ref().and_then(|spec| spec.egress.as_ref());
        rules
            .into_iter()
            .flatten()
            .any(|rule| has(rule.ports.as_deref(), protocol, port) && leads(policy, rule.to.as_deref(), to))
    });
    let into = opened(policies, to, "Ingress", |policy| {
        let rules = policy.spec.as_ref().and_then(|spec| spec.ingress.as_ref());
        rules
            .into_iter()
            .flatten()
            .any(|rule| has(rule.ports.as_deref(), protocol, port) && leads(policy, rule.from.as_deref(), from))
    });
    out && into
}

/// Whether no policy selects `end` in this direction, or one that does allows the connection.
fn opened(policies: &[NetworkPolicy], end: &End, way: &str, opens: impl Fn(&NetworkPolicy) -> bool) -> bool {
    let End::Pod { namespace, labels } = end else { return true };
    let closing: Vec<&NetworkPolicy> = policies
        .iter()
        .filter(|policy| policy.metadata.namespace.as_ref() == Some(namespace))
        .filter(|policy| {
            let spec = policy.spec.as_ref().expect("a spec");
            let selector = spec.pod_selector.as_ref().expect("it is required");
            selects(selector, labels) && spec.policy_types.iter().flatten().any(|kind| kind == way)
        })
        .collect();
    closing.is_empty() || closing.into_iter().any(opens)
}

/// No ports means every port.
fn has(ports: Option<&[NetworkPolicyPort]>, protocol: &str, port: u16) -> bool {
    let Some(ports) = ports else { return true };
    ports
        .iter()
        .any(|one| one.protocol.as_deref() == Some(protocol) && one.port == Some(IntOrString::Int(i32::from(port))))
}

/// No peers means every peer.
fn leads(policy: &NetworkPolicy, peers: Option<&[NetworkPolicyPeer]>, end: &End) -> bool {
    let Some(peers) = peers else { return true };
    peers.iter().any(|peer| match end {
        End::Pod { namespace, labels } => {
            let of_namespace = match &peer.namespace_selector {
                Some(selector) => {
                    let name = Labels::from([("kubernetes.io/metadata.name".into(), namespace.clone())]);
                    selects(selector, &name)
                }
                None => policy.metadata.namespace.as_ref() == Some(namespace),
            };
            peer.ip_block.is_none()
                && of_namespace
                && peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
        }
        End::Address(address) => peer.ip_block.as_ref().is_some_and(|block| {
            within(*address, &block.cidr) && !block.except.iter().flatten().any(|range| within(*address, range))
        }),
    })
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    assert!(selector.match_expressions.is_none(), "not evaluated here");
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

fn within(address: IpAddr, range: &str) -> bool {
    let (network, length) = range.split_once('/').expect("a range");
    let length: u32 = length.parse().expect("a length");
    match (address, network.parse().expect("an address")) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = |a: Ipv4Addr| u32::from(a) & u32::MAX.checked_shl(32 - length).unwrap_or(0);
            assert_eq!(mask(network), u32::from(network), "{range} has bits beyond its length");
            mask(address) == mask(network)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = |a: Ipv6Addr| u128::from(a) & u128::MAX.checked_shl(128 - length).unwrap_or(0);
            assert_eq!(mask(network), u128::from(network), "{range} has bits beyond its length");
            mask(address) == mask(network)
        }
        _ => false,
    }
}
