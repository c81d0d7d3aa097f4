//! The bundled backing services of a development platform. Pure.

use std::collections::BTreeMap;

use crate::{
    crd::Resources,
    resources::{
        manifest::Manifest,
        owner::Owner,
        pod::{self, Env, Pod, SecretMount},
        probes::Probes,
        service::service,
        stateful_set::stateful_set,
    },
    spec::{
        component::Component,
        defaults::bundled,
        images::Images,
        names,
        secrets::{Secrets, bundled_secret},
        settings::Settings,
    },
};

/// The parameters of a bundled server.
struct Server {
    component: Component,
    /// Suffix of its objects' names, and name of its container.
    name: &'static str,
    image: String,
    env: BTreeMap<&'static str, Env>,
    keys: &'static [&'static str],
    probes: Probes,
    resources: Resources,
    /// Path and size of its volume.
    data: Option<(&'static str, &'static str)>,
}

/// Name of the StatefulSet and the Service of a bundled service.
pub fn server_name(platform: &str, component: Component) -> Option<String> {
    let name = match component {
        Component::Database => "postgresql",
        Component::Broker => "rabbitmq",
        Component::Cache => "redis",
        Component::ObjectStore => "s3",
        Component::ProfileSource | Component::Api => return None,
    };
    Some(format!("{platform}-{name}"))
}

/// Name and number of the port of a bundled service.
pub const fn server_port(component: Component) -> Option<(&'static str, u16)> {
    match component {
        Component::Database => Some(("postgresql", 5432)),
        Component::Broker => Some(("amqp", 5672)),
        Component::Cache => Some(("redis", 6379)),
        Component::ObjectStore => Some(("s3", 9000)),
        Component::ProfileSource | Component::Api => None,
    }
}

/// The backing services that the operator deploys for this platform.
pub fn bundled_components(settings: &Settings) -> Vec<Component> {
    Component::BACKING
        .into_iter()
        .filter(|component| match component {
            Component::Database => settings.database.is_bundled(),
            Component::Broker => settings.broker.is_bundled(),
            Component::Cache => settings.cache.is_bundled(),
            Component::ObjectStore => settings.object_store.is_bundled(),
            Component::ProfileSource | Component::Api => false,
        })
        .collect()
}

/// All objects of the bundled services whose Secrets exist.
pub fn manifests(settings: &Settings, secrets: &Secrets, images: &Images, owner: &Owner) -> Vec<Manifest> {
    bundled_components(settings)
        .into_iter()
        .filter_map(|component| {
            let values = secrets.get(&bundled_secret(&settings.name, component))?;
            Some(objects(&server(component, settings, images)?, server_port(component)?, values, images, owner))
        })
        .flatten()
        .collect()
}

fn server(component: Component, settings: &Settings, images: &Images) -> Option<Server> {
    Some(match component {
        Component::Database => Server {
            component,
            name: "postgresql",
            image: images.postgresql.clone(),
            env: BTreeMap::from([("POSTGRES_MAX_CONNECTIONS", Env::Value(settings.max_connections.to_string()))]),
            keys: &["password"],
            probes: Probes::Command(&["pg_isready", "--quiet", "--host=127.0.0.1"]),
            resources: bundled_resources(component),
            data: Some(("/var/lib/postgresql/data", "1Gi")),
        },
        Component::Broker => Server {
            component,
            name: "rabbitmq",
            image: images.rabbitmq.clone(),
            env: BTreeMap::new(),
            keys: &["username", "password"],
            probes: Probes::Tcp,
            resources: bundled_resources(component),
            data: Some(("/var/lib/rabbitmq", "1Gi")),
        },
        Component::Cache => Server {
            component,
            name: "redis",
            image: images.redis.clone(),
            env: BTreeMap::new(),
            keys: &["password"],
            probes: Probes::Command(&["/usr/local/bin/ping"]),
            resources: bundled_resources(component),
            data: None,
        },
        Component::ObjectStore => Server {
            component,
            name: "s3",
            image: images.s3.clone(),
            env: BTreeMap::new(),
            keys: &["access-key", "secret-key"],
            probes: Probes::Http("/health"),
            resources: bundled_resources(component),
            data: Some(("/data", "1Gi")),
        },
        Component::ProfileSource | Component::Api => return None,
    })
}

/// Requests and limits of a bundled server.
pub fn bundled_resources(component: Component) -> Resources {
    match component {
        Component::Database => bundled::postgresql(),
        Component::Broker => bundled::rabbitmq(),
        Component::Cache => bundled::redis(),
        Component::ObjectStore => bundled::s3(),
        Component::ProfileSource | Component::Api => Resources::default(),
    }
}

fn objects(
    server: &Server,
    (port_name, port): (&'static str, u16),
    values: &BTreeMap<String, Vec<u8>>,
    images: &Images,
    owner: &Owner,
) -> Vec<Manifest> {
    let component = server.component.as_str();
    let name = format!("{}-{}", owner.platform, server.name);
    let keys =
        values.iter().filter(|(key, _)| server.keys.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone()));
    let template = pod::template(
        &Pod {
            env: server.env.clone(),
            port: Some((port_name, i32::from(port))),
            probes: server.probes.clone(),
            resources: server.resources.clone(),
            secrets: vec![SecretMount {
                secret: bundled_secret(&owner.platform, server.component),
                group: server.name,
                values: keys.collect(),
            }],
            data: server.data.map(|(path, _)| ("data", path)),
            grace_seconds: 20,
            ..Pod::new(
                names::selector(&owner.platform, component),
                names::labels(&owner.platform, component),
                server.name,
                server.image.clone(),
            )
        },
        images,
    );
    vec![
        Manifest::of(&service(owner, &name, component, &[(i32::from(port), port_name)])),
        Manifest::of(&stateful_set(owner, &name, component, server.data.map(|(_, size)| ("data", size)), template)),
    ]
}
