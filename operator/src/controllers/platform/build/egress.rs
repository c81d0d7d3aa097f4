//! Where a platform's pods have to connect to, as far as the spec and the Secrets tell. Pure.

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

/// Where some pods may connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    /// Bundled servers.
    servers: BTreeSet<Component>,
    /// Ports of named servers. A name tells a policy no address, so such a port is open everywhere.
    ports: BTreeSet<u16>,
    /// Namespaces that a name leads into: a Service there may lead to another port than its own, so all of them are open.
    namespaces: BTreeSet<String>,
}

impl Egress {
    /// What `components` are reached at.
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
                    source.into_iter().for_each(|source| all.add(&source.endpoint, settings));
                }
                _ => drop(all.servers.insert(*component)),
            }
        }
        all
    }

    /// The login that may make roles may go past the pooler that the others go through.
    pub fn add_setup(&mut self, settings: &Settings, credentials: &Credentials) {
        if let Some(admin) = credentials.database_admin.as_ref().filter(|_| !settings.database.is_bundled()) {
            self.add(text(admin, files::DATABASE_ADMIN_URI.key), settings);
        }
    }

    /// The collector that traces go to, if they go anywhere.
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

    /// The rules that open them.
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

/// The namespace of the Service that `host` names, if it may name one: `name`, `name.namespace`, or with `.svc` and what follows it.
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
    fn a_port_that_an_address_leaves_out_is_that_of_its_scheme() {
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
    fn a_name_inside_the_cluster_tells_its_namespace() {
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
