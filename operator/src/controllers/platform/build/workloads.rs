//! Our own workloads of a platform: configuration, setup Job, API. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ConfigMap, Service},
};
use switchyard_contract::{
    API_PORT, Config, ConnectionPool, Database, Lane, OPERATIONS_PORT, ObjectStore, Platform, ProfileSource, Role,
    RoleGrant, SourceLimits, Workload,
};

use crate::{
    controllers::platform::credentials::{Credentials, Problem},
    resources::{
        config_map::{config_map, document},
        deployment::deployment,
        job::job,
        owner::Owner,
        pod::{self, Pod, Probes, SecretMount},
        service::service,
    },
    spec::{
        connection_budget::Budget,
        defaults,
        images::Images,
        names,
        replicas::Replicas,
        settings::{Settings, Source},
    },
};

/// Bucket of the bundled object store.
const BUNDLED_BUCKET: &str = "switchyard";
/// Name of the API's port in its pods and its Service.
pub const API_PORT_NAME: &str = "http";
/// Number of that port in the Service.
pub const API_SERVICE_PORT: i32 = 80;
/// Component label of the setup Job and its pod.
pub const SET_UP: &str = "setup";

/// The configuration of one workload. A pool's share of connections and role come with it.
pub fn config(
    settings: &Settings,
    credentials: &Credentials,
    workload: Workload,
    role: Role,
    connections: ConnectionPool,
) -> Config {
    Config {
        platform: Platform { namespace: settings.namespace.clone(), name: settings.name.clone() },
        workload,
        database: Database { role, pooler: settings.pooler, connections },
        lanes: settings.lanes,
        tiers: settings.tiers,
        retry: settings.retry.clone(),
        analysis: settings.analysis.clone(),
        object_store: Some(match &settings.object_store {
            Source::Bundled => ObjectStore {
                endpoint: format!("http://{}-s3:9000", settings.name),
                bucket: BUNDLED_BUCKET.into(),
                region: "us-east-1".into(),
            },
            Source::Named(store) => ObjectStore {
                endpoint: store.endpoint.clone(),
                bucket: store.bucket.clone(),
                region: store.region.clone().unwrap_or_else(|| "us-east-1".into()),
            },
        }),
        profile_source: settings.profile_source.as_ref().filter(|_| credentials.profile_source.is_some()).map(
            |source| ProfileSource {
                endpoint: source.endpoint.clone(),
                actor: source.actor.clone(),
                limits: SourceLimits::default(),
            },
        ),
        telemetry: settings.monitoring.telemetry.clone(),
        recovery: settings.recovery,
    }
}

/// The setup of a platform: a Job with its configuration. The Job's name carries a digest of all that it depends on, so that any change makes
/// a new one, and whoever knows the same facts knows the name.
#[derive(Debug, Clone, PartialEq)]
pub struct SetUp {
    pub config: ConfigMap,
    pub job: Job,
    pub name: String,
}

/// The setup for these facts.
pub fn set_up(
    settings: &Settings,
    credentials: &Credentials,
    budget: &Budget,
    images: &Images,
    owner: &Owner,
) -> SetUp {
    let roles = budget
        .allocations
        .iter()
        .map(|allocation| RoleGrant {
            role: allocation.role,
            connections: allocation.total(),
            statement_timeout_seconds: allocation.statement_timeout_seconds,
        })
        .collect();
    let connections = ConnectionPool { size: 2, overflow: 0, wait_timeout_seconds: 20, statement_timeout_seconds: 300 };
    // The profile source is nothing to set up: a new token must not set everything up again.
    let config = Config {
        profile_source: None,
        telemetry: None,
        recovery: Default::default(),
        ..config(settings, credentials, Workload::Setup { roles }, Role::Api, connections)
    };
    let secrets: Vec<SecretMount> = merged(
        [Some(credentials.database.clone()), credentials.database_admin.clone(), credentials.roles.clone()]
            .into_iter()
            .flatten()
            .chain([credentials.broker.clone(), credentials.cache.clone(), credentials.object_store.clone()]),
    );
    let text = document(&config);
    let digest = names::digest([text.as_bytes(), pod::secrets_digest(&secrets).as_bytes(), images.api.as_bytes()]);
    let name = format!("{}-setup-{}", settings.name, &digest[..10]);
    let config_name = format!("{}-setup", settings.name);
    let template = pod::template(
        &Pod {
            selector: names::selector(&settings.name, SET_UP),
            labels: names::labels(&settings.name, SET_UP),
            container: "setup",
            image: images.api.clone(),
            args: vec!["setup".into()],
            env: BTreeMap::new(),
            port: None,
            probes: Probes::None,
            resources: defaults::set_up_resources(),
            config: Some((config_name.clone(), names::digest([text.as_bytes()]))),
            secrets,
            data: None,
            grace_seconds: 5,
            restart: Some("Never"),
            spread: false,
            priority: None,
        },
        images,
    );
    SetUp { config: config_map(owner, &config_name, SET_UP, &config), job: job(owner, &name, SET_UP, template), name }
}

/// The API: configuration, Deployment, Service.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiObjects {
    pub config: ConfigMap,
    pub deployment: Deployment,
    pub service: Service,
    /// Whether something else decides on the Deployment's replicas.
    pub scaled: bool,
}

/// The API for these facts. `running` tells whether its Deployment exists: a scaled one starts at its minimum and is then left alone.
///
/// # Errors
/// When the user's pod template makes no pod.
pub fn api(
    settings: &Settings,
    credentials: &Credentials,
    connections: ConnectionPool,
    images: &Images,
    owner: &Owner,
    running: bool,
) -> Result<ApiObjects, Problem> {
    let name = format!("{}-api", settings.name);
    let config = config(settings, credentials, Workload::Api, Role::Api, connections);
    let selector = names::selector(&settings.name, "api");
    let template = pod::template(
        &Pod {
            selector: selector.clone(),
            labels: names::labels(&settings.name, "api"),
            container: "api",
            image: images.api.clone(),
            args: vec!["serve".into()],
            env: BTreeMap::new(),
            port: Some((API_PORT_NAME, i32::from(API_PORT))),
            probes: Probes::Workload,
            resources: settings.api_resources.clone(),
            config: Some((name.clone(), names::digest([document(&config).as_bytes()]))),
            secrets: merged(
                [Some(credentials.database.clone()), credentials.role(Role::Api)].into_iter().flatten().chain([
                    credentials.broker.clone(),
                    credentials.cache.clone(),
                    credentials.admin.clone(),
                ]),
            ),
            data: None,
            grace_seconds: defaults::grace_seconds(settings.environment, 15),
            restart: None,
            spread: defaults::is_redundant(settings.environment),
            priority: priority(settings, images, Lane::Critical),
        },
        images,
    );
    let template =
        pod::overridden(template, settings.api_pod_template.as_ref(), &selector).map_err(|error| Problem {
            component: crate::spec::component::Component::Api,
            reason: "PodTemplateInvalid",
            message: format!("spec.api.podTemplate makes no pod template: {error}"),
        })?;
    let replicas = starting_replicas(settings.api_replicas, running);
    Ok(ApiObjects {
        config: config_map(owner, &name, "api", &config),
        deployment: deployment(owner.meta(&name, "api"), selector, replicas, template),
        service: service(
            owner,
            &name,
            "api",
            &[(API_SERVICE_PORT, API_PORT_NAME), (i32::from(OPERATIONS_PORT), pod::OPERATIONS)],
        ),
        scaled: settings.api_replicas.scaling().is_some(),
    })
}

/// The PriorityClass of pods whose most urgent work is of `lane`, where the installation has some. In development everything is of one rank.
pub fn priority(settings: &Settings, images: &Images, lane: Lane) -> Option<String> {
    let classes = images.priority_classes.as_ref().filter(|_| defaults::is_redundant(settings.environment))?;
    Some(format!("{classes}-{lane}"))
}

/// What to apply as `replicas`: nothing, once something else scales a Deployment that exists.
pub fn starting_replicas(replicas: Replicas, running: bool) -> Option<i32> {
    match replicas {
        Replicas::Fixed(replicas) => Some(replicas),
        Replicas::Scaled(bounds) => (!running).then_some(bounds.min()),
    }
}

/// Mounts of one Secret into one folder become one.
pub fn merged(mounts: impl IntoIterator<Item = SecretMount>) -> Vec<SecretMount> {
    let mut all: Vec<SecretMount> = Vec::new();
    for mount in mounts {
        match all.iter_mut().find(|other| other.secret == mount.secret && other.group == mount.group) {
            Some(other) => other.values.extend(mount.values),
            None => all.push(mount),
        }
    }
    all
}
