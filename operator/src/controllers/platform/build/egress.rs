//! The destinations that a platform's pods connect to, from its spec and Secrets. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use switchyard_contract::files;
use url::Url;

use crate::{
    controllers::platform::{
        build::bundled_services::server_port,
        credentials::{Credentials, each_address, text},
    },
    resources::network_policy::{pods, pods_of, tcp, to},
    spec::{
        component::Component,
        names,
        settings::{Settings, Source},
    },
};

/// Destinations of some pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    /// Bundled servers.
    servers: BTreeSet<Component>,
    /// Ports of external servers. A policy cannot select by host name, so a port is open to any
    /// address.
    ports: BTreeSet<u16>,
    /// Namespaces of Services in host names. The target port of a Service may differ from its own,
    /// so all ports are open.
    namespaces: BTreeSet<String>,
}

impl Egress {
    /// The destinations of `components`.
    pub fn of(settings: &Settings, credentials: &Credentials, components: &[Component]) -> Self {
        let mut all = Self::default();
        for component in components {
            match component {
                Component::Database if !settings.database.is_bundled() => {
                    all.add(text(&credentials.database, "uri"), settings);
                    each_address(&credentials.database, files::DATABASE_REPLICA_URIS.key)
                        .for_each(|address| all.add(address, settings));
                }
                Component::Broker if !settings.broker.is_bundled() => {
                    all.add(text(&credentials.broker, "uri"), settings);
                }
                Component::Cache if !settings.cache.is_bundled() => all.add(text(&credentials.cache, "uri"), settings),
                Component::ObjectStore => match &settings.object_store {
                    Source::Named(store) => all.add(&store.endpoint, settings),
                    Source::Bundled => drop(all.servers.insert(*component)),
                },
                Component::ProfileSource => {
                    let source = settings.profile_source.as_ref().filter(|_| credentials.profile_source.is_some());
                    if let Some(source) = source {
                        all.add(&source.endpoint, settings);
                    }
                }
                _ => drop(all.servers.insert(*component)),
            }
        }
        all
    }

    /// Adds the database address of the setup Job, which may bypass the workloads' pooler.
    pub fn add_setup(&mut self, settings: &Settings, credentials: &Credentials) {
        if let Some(admin) = credentials.database_admin.as_ref().filter(|_| !settings.database.is_bundled()) {
            self.add(text(admin, files::DATABASE_ADMIN_URI.key), settings);
        }
    }

    /// Adds the collector of traces, if one is configured.
    pub fn add_traces(&mut self, settings: &Settings) {
        if let Some(telemetry) = &settings.monitoring.telemetry {
            self.add(&telemetry.otlp_endpoint, settings);
        }
    }

    fn add(&mut self, address: &str, settings: &Settings) {
        let Ok(url) = Url::parse(address.trim()) else { return };
        self.ports.extend(port(&url));
        self.namespaces.extend(url.host_str().and_then(|host| namespace(host, &settings.namespace)));
    }

    /// The egress rules that allow them.
    pub fn rules(&self, platform: &str) -> Vec<NetworkPolicyEgressRule> {
        let server = |component: &Component| {
            let (_, port) = server_port(*component)?;
            Some(to(vec![pods(names::selector(platform, component.as_str()))], vec![tcp(port)]))
        };
        let mut rules: Vec<_> = self.servers.iter().filter_map(server).collect();
        if !self.ports.is_empty() {
            rules.push(to(Vec::new(), self.ports.iter().copied().map(tcp).collect()));
        }
        if !self.namespaces.is_empty() {
            rules.push(to(self.namespaces.iter().map(|namespace| pods_of(namespace)).collect(), Vec::new()));
        }
        rules
    }
}

fn port(url: &Url) -> Option<u16> {
    url.port_or_known_default().or(match url.scheme() {
        "postgres" | "postgresql" => Some(5432),
        "amqp" => Some(5672),
        "amqps" => Some(5671),
        "redis" | "rediss" => Some(6379),
        _ => None,
    })
}

/// The namespace of the Service that `host` may name: `name`, `name.namespace`, or either with
/// `.svc` and a cluster domain.
fn namespace(host: &str, own: &str) -> Option<String> {
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return None;
    }
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let namespace = match labels.as_slice() {
        [_] => own,
        [_, namespace] => namespace,
        labels => labels.iter().position(|label| *label == "svc").filter(|at| *at >= 2).map(|at| labels[at - 1])?,
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = (1..=63).contains(&namespace.len()) && namespace.chars().all(is_name);
    (valid && !namespace.starts_with('-') && !namespace.ends_with('-')).then(|| namespace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_port_is_that_of_the_scheme() {
        for (address, expected) in [
            ("postgres://a:b@db.example.org/x", 5432),
            ("postgresql://a:b@db.example.org:6432/x", 6432),
            ("amqp://mq", 5672),
            ("amqps://mq", 5671),
            ("rediss://:p@redis:6380/0", 6380),
            ("redis://:p@redis/0", 6379),
            ("http://s3", 80),
            ("https://api.apify.com", 443),
        ] {
            assert_eq!(port(&Url::parse(address).expect("an address")), Some(expected), "{address}");
        }
    }

    #[test]
    fn namespace_of_a_cluster_host_name() {
        for (host, expected) in [
            ("db", Some("shop")),
            ("db.data", Some("data")),
            ("db.data.svc", Some("data")),
            ("db-0.db.data.svc.cluster.local.", Some("data")),
            ("db.example.org", None),
            ("svc.example.org", None),
            ("10.0.0.8", None),
            ("[fd00::1]", None),
            ("db.Data", None),
            ("%2Frun", Some("shop")),
        ] {
            assert_eq!(namespace(host, "shop").as_deref(), expected, "{host}");
        }
    }
}
